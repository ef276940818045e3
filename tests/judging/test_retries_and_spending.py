"""What follows a call, and what a run may still spend: both without network and clock, values worked out by hand."""

import pytest

from stratalign.judging.replies import Reply, Trouble, Verdict
from stratalign.judging.retries import Next, Retries
from stratalign.judging.settings import JudgeSettings, Price
from stratalign.judging.spending import Spending
from stratalign.judging.store_calls import Used

PRICE = Price(input=1.0, output=10.0, currency="USD", date="2026-01-01")


class Unlucky:
    """Waits are drawn from their upper half; 0 is its lower end."""

    def random(self):
        return 0.0


def retries(**settings):
    return Retries(JudgeSettings(backoff=4.0, **settings), 100, Unlucky())


def reply(tokens_in=3, tokens_out=4):
    return Reply("[]", "stop", "m", None, tokens_in, tokens_out)


def test_passing_trouble_is_waited_out_longer_each_time_until_the_tries_are_used_up():
    own, trouble = retries(tries=3), Trouble("retry", "busy")
    failed = Verdict("failed", reason="busy")
    # Half of 4 s, then half of 8 s; the third try was the last.
    assert own.after(trouble, failed, 0.5, 1.0) == Next(True, 2.0)
    assert own.after(trouble, failed, 3.0, 4.0) == Next(True, 4.0)
    assert not own.after(trouble, failed, 8.0, 9.0).again


def test_a_wait_beyond_the_deadline_ends_a_text_and_where_the_server_asks_for_it_the_run():
    failed = Verdict("failed", reason="busy")
    # From 1 to 2 s, then 899.5 s: 900.5 s after the first call began, and 900 are allowed.
    assert not retries().after(Trouble("retry", "busy", 899.5), failed, 1.0, 2.0).again
    assert retries().after(Trouble("retry", "busy", 899.0), failed, 1.0, 2.0) == Next(True, 899.0)
    stopped = retries().after(Trouble("slow", "too fast", 901.0), failed, 1.0, 2.0)
    assert (stopped.again, stopped.stop) == (False, "too fast (it asks to wait 901 s)")
    assert retries().after(Trouble("stop", "no balance"), failed, 1.0, 2.0).stop == "no balance"


def test_a_cut_reply_gets_twice_the_length_once():
    own = retries()
    assert own.after(reply(), Verdict("truncated"), 1.0, 2.0) == Next(True)
    assert own.longest == 200
    assert own.after(reply(), Verdict("truncated"), 3.0, 4.0) == Next(False)


def test_an_invalid_reply_is_asked_for_again_as_often_as_is_set_and_a_valid_one_never():
    own = retries(invalid_tries=2)
    assert own.after(reply(), Verdict("invalid"), 1.0, 2.0).again
    assert not own.after(reply(), Verdict("invalid"), 3.0, 4.0).again
    assert retries().after(reply(), Verdict("ok", {"x": 1}), 1.0, 2.0) == Next(False)


def test_calls_under_way_count_with_their_greatest_cost():
    own = Spending(JudgeSettings(price=PRICE, max_cost=0.01), Used(1, 1, 1000, 100, 1000))
    # In millionths: 1000 + 10 x 100 = 2000 are spent of 10000; a call costs at most 1000 + 10 x 200 = 3000.
    worst = own.worst(1000, 200)
    assert worst == pytest.approx(0.003)
    own.reserve(worst)
    own.reserve(worst)
    assert not own.affords(worst)  # 2000 + 6000 + 3000 is too much
    own.release(worst)
    assert own.add(reply(1000, 20)) == 1020  # 1200, in place of the 3000 that were reserved
    assert own.affords(worst)  # 2000 + 1200 + 3000 + 3000
    # The store has that call and another's 2000: only the other's is new.
    own.look_up(Used(3, 3, 3000, 220, 3000))
    assert not own.affords(worst)  # 3000 + 10 x 220 + 3000 + 3000


def test_replies_whose_tokens_nobody_counted_say_nothing_of_a_typical_one():
    own = Spending(JudgeSettings(), Used(0, 0, 0, 0, 0))
    assert own.typical_reply(50) == 50
    assert own.add(reply(tokens_out=None)) is None
    assert own.add(Trouble("retry", "busy")) is None
    assert own.typical_reply(50) == 50
    own.add(reply(tokens_out=8))
    own.add(reply(tokens_out=4))
    assert own.typical_reply(50) == 6
    assert (own.calls, own.replies, own.tokens_out) == (4, 2, 12)
