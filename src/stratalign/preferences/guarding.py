"""A limit on the processor time of rendering: a template is code from elsewhere, and may loop without end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from stratalign.errors import UserError

MOST_SECONDS = 10.0


@contextmanager
def limited_time(what: str, seconds: float = MOST_SECONDS) -> Iterator[None]:
    """Stop what runs inside after so much processor time of this process.

    Works in the main thread, where signals arrive; elsewhere, and where the system has no such timer, nothing is
    limited. Put it around one row or one batch: waiting costs nothing, setting the timer some microseconds.

    Args:
        what: what runs, such as "The chat template of MODEL"; begins the message.
        seconds: of processor time.

    Raises:
        UserError: the time is over.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise UserError(f"{what} took more than {seconds:g} s of processor time and was stopped. Correct it.")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
