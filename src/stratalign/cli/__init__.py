"""The command line: one verb, one public function. Prints, asks nothing, computes nothing.

Exit codes: 0 done, 2 the user's mistake (one message, no traceback), 1 a failure.
"""

from __future__ import annotations

import sys

from stratalign.cli.verbs import app
from stratalign.errors import StudyFailure, UserError

INTERRUPTED = 130


def main() -> None:
    """Run the command line and leave with its exit code."""
    try:
        app(standalone_mode=True)
    except UserError as error:
        _say("Error", str(error))
        sys.exit(2)
    except StudyFailure as error:
        _say("Failed", str(error))
        sys.exit(1)
    except SystemExit as left:
        if left.code == INTERRUPTED:  # typer turns Ctrl-C into this code and prints nothing
            _say("Interrupted", "Run the same command again to continue.")
        raise


def _say(what: str, message: str) -> None:
    print(f"{what}: {message}", file=sys.stderr)
