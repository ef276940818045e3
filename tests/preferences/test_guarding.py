"""A template that loops without end is stopped; one that ends is not touched."""

import signal
import threading

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from stratalign.errors import UserError
from stratalign.preferences.guarding import limited_time

LOOPS = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"


def test_a_template_that_loops_is_stopped_and_named():
    template = ImmutableSandboxedEnvironment().from_string(LOOPS)
    before = signal.getsignal(signal.SIGVTALRM)
    with (
        pytest.raises(UserError, match=r"The chat template of x took more than 0\.2 s"),
        limited_time("The chat template of x", 0.2),
    ):
        template.render()
    assert signal.getsignal(signal.SIGVTALRM) == before
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)


def test_what_ends_in_time_is_not_touched_and_errors_pass():
    with limited_time("x"):
        assert ImmutableSandboxedEnvironment().from_string("{{ a }}").render(a=1) == "1"
    with pytest.raises(KeyError), limited_time("x"):
        raise KeyError


def test_another_thread_is_not_limited_and_does_not_fail():
    found = []

    def render():
        with limited_time("x"):
            found.append(1)

    thread = threading.Thread(target=render)
    thread.start()
    thread.join()
    assert found == [1]
