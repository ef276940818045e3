"""A calibration on a server whose faults are known, and an estimate that learns from it."""

import pytest
from fake_server import FakeServer, scores_for
from judge_setups import STUB, StubProtocol, row, settings_for

from stratalign.errors import UserError
from stratalign.judging.calibrating import calibrate
from stratalign.judging.cost import estimate
from stratalign.judging.protocol import Item
from stratalign.judging.running import judge_rows

PRICE = {"input": 10, "output": 20, "date": "2026-11-01"}


def test_a_calibration_counts_what_the_server_did(tmp_path):
    # Both judgements of a text follow one plan: their calls are counted together, by messages.
    # 6 texts answer well, two of them in parts; 2 break the protocol once, then twice answer well; 1 is blocked
    # twice; 1 fails twice.
    plans = ["ok"] * 4 + ["parts"] * 2 + ["missing,ok"] * 2 + ["blocked", "400"]
    rows = [row(number, plan) for number, plan in enumerate(plans)]
    rows += [row(number, plan, run="full") for number, plan in enumerate(plans)]
    with FakeServer() as server:
        settings = settings_for(server.url, price=PRICE, concurrency=1)
        found = calibrate(settings, STUB, rows, tmp_path / "j.sqlite", anchor=Item("Hats?", ("Hats.",)))
        assert (found.texts, found.judgements) == (10, 20)
        # calls: 12 + (2 + 1) x 2 + 2 + 2, and the anchor
        assert server.total == found.tally.calls == 12 + 6 + 2 + 2 + 1
        assert found.valid == 16 / 20
        # first replies of judgements that got one: 12 + 4 + 2 blocked; of these 2 are malformed
        assert found.malformed == pytest.approx(2 / 18)
        assert (found.cut, found.blocked, found.failed) == (0, 2 / 20, 2 / 20)
        # the server scores by messages alone
        assert (found.agreement, found.difference) == (1.0, 0.0)
        assert found.anchor == scores_for(STUB.messages(Item("Hats?", ("Hats.",))))
        assert (found.tokens_in, found.tokens_out) == (100, 50)
        # 18 replies of 100 x 10 + 50 x 20 = 2,000 millionths, for 20 judgements
        assert found.cost_per_1000 == pytest.approx(1000 * 18 * 0.002 / 20)

        # The first judgements are the study's own, and the estimate has learnt the reply's length.
        guess = estimate(settings, STUB, [*rows[:6], row(77)], tmp_path / "j.sqlite")
        assert (guess.texts, guess.known, guess.calls) == (7, 6, 1)
        assert (guess.measured, guess.tokens_out) == (19, 50)
        # about 100 tokens a prompt where 20 or so were estimated
        assert 90 <= guess.tokens_in <= 110


def test_agreement_is_of_two_judgements_of_the_same_text(tmp_path):
    class Moody(StubProtocol):
        calls = 0

        def read(self, reply, item=None):
            scores = super().read(reply)
            Moody.calls += 1
            return {**scores, "overall": 2 if Moody.calls % 2 else 4}

    with FakeServer() as server:
        settings = settings_for(server.url, concurrency=1)
        # one text, judged twice: overall is 2 and 4, the two others agree
        found = calibrate(settings, Moody(), [row(0)], tmp_path / "j.sqlite")
    assert (found.agreement, found.difference) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert (found.anchor, found.anchor_state, found.cost_per_1000) == (None, None, None)


def test_a_draw_is_made_of_texts_and_can_be_judged_on(tmp_path):
    rows = [row(number) for number in range(30)]
    with FakeServer() as server:
        settings = settings_for(server.url)
        found = calibrate(settings, STUB, rows, tmp_path / "j.sqlite", count=5)
        assert (found.texts, server.total) == (5, 10)
        tally = judge_rows(settings, STUB, rows, tmp_path / "j.sqlite")
        assert (tally.known, tally.calls) == (5, 25)


def test_nothing_to_calibrate_with_is_said(tmp_path):
    with pytest.raises(UserError, match="no answers yet"):
        calibrate(settings_for("http://127.0.0.1:9/v1"), STUB, [], tmp_path / "j.sqlite")
