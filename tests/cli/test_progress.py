"""What a log hears of a long stage."""

from stratalign.cli import terminal


def test_without_a_terminal_a_long_stage_is_heard_of_now_and_then(capsys, monkeypatch):
    now = iter([0.0, 1.0, 30.0, 61.0, 90.0, 121.0, 151.0])
    monkeypatch.setattr(terminal.time, "monotonic", lambda: next(now))
    with terminal.progress() as tell:
        for done in (0, 1, 2, 3, 4, 5):
            tell(f"training: loss {done}", done, 5)
    # 2 steps in 60 seconds, 4 in 120 and 5 in 150 since the first word: 2 a minute
    assert capsys.readouterr().out.splitlines() == [
        "training: loss 2, 2 of 5, 2/min, 2 min left",
        "training: loss 4, 4 of 5, 2/min, 30 s left",
        "training: loss 5, 5 of 5, 2/min",
    ]


def test_speed_and_time_left_follow_what_is_begun_and_what_begins_again(capsys, monkeypatch):
    now = iter([0.0, 0.0, 100.0, 200.0, 210.0, 210.0, 1210.0, 1300.0])
    monkeypatch.setattr(terminal.time, "monotonic", lambda: next(now))
    with terminal.progress() as tell:
        tell("generation", 16, 48)  # of which 16 were there before
        tell("generation: token 256 of at most 512", 24.5, 48)
        tell("generation: token 512 of at most 512", 48.0, 48)
        tell("generation", 0, 8)
        tell("divergence", 8, 8)  # heard of once: no speed
        tell("generation: token 1 of at most 512", 0.5, 8)
        tell("generation", 8, 8)
    # (24.5 - 16) / 100 s; 23.5 are missing; then 32 in 200 s; then 0.5 in 1,000 s and 8 in 1,090 s
    assert capsys.readouterr().out.splitlines() == [
        "generation: token 256 of at most 512, 51 %, 5.1/min, 5 min left",
        "generation: token 512 of at most 512, 100 %, 9.6/min",
        "divergence: 8 of 8",
        "generation: token 1 of at most 512, 6 %, 1.8/h, 4.2 h left",
        "generation: 8 of 8, 26.4/h",
    ]


def test_a_sentence_is_said_once_and_counts_nothing(capsys):
    with terminal.progress() as tell:
        tell("Memory ran out.", 0, 0)
    assert capsys.readouterr().out == "Memory ran out.\n"


def test_quiet_says_nothing(capsys):
    with terminal.progress(quiet=True) as tell:
        tell("training", 5, 5)
    assert capsys.readouterr().out == ""
