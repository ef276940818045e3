"""What stratalign costs, measured: beside stock TRL (beside_trl.py), and over pairs and conditions (linear_cost.py).

Nothing here is installed with the package; `make bench` and `make bench-linear` run it from the project's root.
"""
