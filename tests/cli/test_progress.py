"""What a log hears of a long stage."""

from stratalign.cli import terminal


def test_without_a_terminal_a_long_stage_is_heard_of_now_and_then(capsys, monkeypatch):
    now = iter([0.0, 30.0, 61.0, 90.0, 121.5, 130.0])
    monkeypatch.setattr(terminal.time, "monotonic", lambda: next(now))
    with terminal.progress() as tell:
        for done in (1, 2, 3, 4, 5):
            tell(f"training: loss {done}", done, 5)
    assert capsys.readouterr().out.splitlines() == [
        "training: loss 2: 2 of 5",
        "training: loss 4: 4 of 5",
        "training: loss 5: 5 of 5",
    ]


def test_quiet_says_nothing(capsys):
    with terminal.progress(quiet=True) as tell:
        tell("training", 5, 5)
    assert capsys.readouterr().out == ""
