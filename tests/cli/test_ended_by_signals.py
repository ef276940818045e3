"""Ctrl-C and SIGTERM end every command with one plain line and the usual exit code, also while it still imports."""

import signal
import sys
from importlib.abc import MetaPathFinder

import pytest
from command_line import call

VERBS = "stratalign.cli.verbs"


@pytest.fixture(autouse=True)
def ctrl_c_counts():
    """A job in the background ignores SIGINT, and so would this process."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Signalled(MetaPathFinder):
    """Sends this process a signal in the moment in which the verbs are imported."""

    def __init__(self, number):
        self.number = number

    def find_spec(self, name, _path, _target=None):
        if name == VERBS:
            signal.raise_signal(self.number)


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [(signal.SIGINT, 130, "Interrupted"), (signal.SIGTERM, 143, "Terminated")],
)
def test_a_signal_during_imports_ends_in_one_line(monkeypatch, number, code, word):
    monkeypatch.delitem(sys.modules, VERBS, raising=False)
    monkeypatch.setattr(sys, "meta_path", [Signalled(number), *sys.meta_path])
    before = signal.getsignal(signal.SIGTERM)
    done = call("list", "losses")
    assert (done.code, done.out) == (code, "")
    assert done.err == f"{word}: Run the same command again to continue.\n"
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [(signal.SIGINT, 130, "Interrupted"), (signal.SIGTERM, 143, "Terminated")],
)
def test_a_signal_at_work_ends_in_one_line(monkeypatch, number, code, word):
    import stratalign as sa

    monkeypatch.setattr(sa, "catalogues", lambda _name: signal.raise_signal(number))
    done = call("list")
    assert (done.code, done.out) == (code, "")
    assert done.err == f"{word}: Run the same command again to continue.\n"
