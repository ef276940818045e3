"""Which layers to train at which rate, or why that cannot be said, and the next command to type.

Knows results and records; nothing of tables, figures or pages.
"""
