"""The command line: one verb, one public function. Prints, asks nothing, computes nothing.

Exit codes: 0 done, 2 the user's mistake (one message, no traceback), 1 a failure, 130 ended by Ctrl-C, 143 by SIGTERM.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from stratalign.errors import StudyFailure, UserError, visible

INTERRUPTED = 128 + signal.SIGINT
TERMINATED = 128 + signal.SIGTERM


def main() -> None:
    """Run the command line and leave with its exit code."""
    if "--no-code" in sys.argv[1:]:  # it may stand after the verb as well
        sys.argv[1:] = ["--no-code", *(word for word in sys.argv[1:] if word != "--no-code")]
    try:
        with _ended_in_words():
            from stratalign.cli.verbs import app  # takes half a second, in which Ctrl-C may come

            app(standalone_mode=True)
    except UserError as error:
        _say("Error", str(error))
        sys.exit(2)
    except StudyFailure as error:
        _say("Failed", str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        _leave(INTERRUPTED)
    except SystemExit as left:
        if left.code in (INTERRUPTED, TERMINATED):  # typer turns Ctrl-C into this code and prints nothing
            _leave(left.code)
        raise


@contextmanager
def _ended_in_words() -> Iterator[None]:
    """Within the block SIGTERM ends the command as Ctrl-C does: what is being written is finished or put away."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(_number: int, _frame: FrameType | None) -> None:
        raise SystemExit(TERMINATED)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _leave(code: int) -> None:
    _say("Interrupted" if code == INTERRUPTED else "Terminated", "Run the same command again to continue.")
    sys.exit(code)


def _say(what: str, message: str) -> None:
    print(visible(f"{what}: {message}"), file=sys.stderr)
