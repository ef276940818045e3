"""`python -m stratalign`: the command line where its script is not on the path."""

from stratalign.cli import main

if __name__ == "__main__":
    main()
