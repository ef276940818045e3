"""Labels by people: blind, balanced, safe in a spreadsheet, and back as scores."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import pytest

from hostile import HOSTILE
from stratalign.errors import UserError
from stratalign.judging.labels import LabelFiles, item_id, read_labels, write_label_template
from stratalign.judging.protocol import load_protocol
from stratalign.records import Response, guarded_cell, restored_cell

RUNS = {"base": 0, "mid@0": 0, "mid@1": 1}
LIKERT = load_protocol("likert-16")


def answer(run: str, prompt: int, text: str | None = None) -> Response:
    return Response(
        run=run,
        prompt_id=f"p{prompt}",
        cluster=f"c{prompt // 2}",
        prompt=f"Question {prompt}?",
        response=f"{RUNS.get(run, 9)} says {prompt}" if text is None else text,
        tokens=3,
        finish="stop",
        sampling_seed=0,
        kl_to_base=0.0,
    )


ANSWERS = [answer(run, prompt) for run in RUNS for prompt in range(20)]


def cells(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file))


def fill(files: LabelFiles, name: str, label: object = 4) -> Path:
    head, *rows = cells(files.table)
    path = files.table.with_name(name)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([head, *([*row[:3], *[label] * (len(row) - 3)] for row in rows)])
    return path


def owners(files: LabelFiles) -> list[tuple[str, str]]:
    items = json.loads(files.key.read_text(encoding="utf-8"))["items"]
    return [(one["run"], one["prompt_id"]) for group in items.values() for one in group]


@pytest.mark.parametrize("items", [1, 7, 9, 60, 99])
def test_samples_are_balanced_over_runs_and_share_prompts(tmp_path: Path, items: int) -> None:
    files = write_label_template(tmp_path / "labels.csv", ANSWERS, RUNS, LIKERT, items)
    sampled = owners(files)
    assert len(sampled) == min(items, 60) == len(set(sampled))
    runs = Counter(run for run, _ in sampled)
    assert max(runs.values()) - min([runs[run] for run in RUNS]) <= 1
    assert len({prompt for _, prompt in sampled}) == -(-min(items, 60) // 3)


def test_the_seed_decides_what_is_sampled(tmp_path: Path) -> None:
    written = [
        write_label_template(tmp_path / f"{name}.csv", answers, RUNS, LIKERT, 9, seed=seed)
        for name, seed, answers in (("a", 1, ANSWERS), ("b", 1, ANSWERS[::-1]), ("c", 2, ANSWERS))
    ]
    assert written[0].table.read_bytes() == written[1].table.read_bytes()
    assert owners(written[0]) == owners(written[1]) != owners(written[2])


def test_the_table_is_blind(tmp_path: Path) -> None:
    answers = [answer(run, prompt, f"answer {n}") for n, run in enumerate(RUNS) for prompt in range(4)]
    files = write_label_template(tmp_path / "labels.csv", answers, RUNS, LIKERT, 12)
    text = files.table.read_text(encoding="utf-8-sig")
    assert not any(word in text for word in ("base", "mid", "p0", "c0"))
    head, *rows = cells(files.table)
    assert head == ["item", "prompt", "response", *LIKERT.names]
    assert [row[0] for row in rows] == sorted(item_id(row[1], row[2]) for row in rows)
    assert all(row[3:] == [""] * 16 for row in rows)
    assert [file.name for file in files] == ["labels.csv", "labels.guide.txt", "labels.key.json"]
    guide = files.guide.read_text(encoding="utf-8")
    assert "one integer from 1 to 5" in guide
    assert all(dimension.about in guide for dimension in LIKERT.dimensions)


def test_labels_come_back_as_scores(tmp_path: Path) -> None:
    files = write_label_template(tmp_path / "labels.csv", ANSWERS, RUNS, LIKERT, 6)
    head, *rows = cells(files.table)
    filled = tmp_path / "alice.csv"
    overall = head.index("Overall")
    for number, row in enumerate(rows):
        row[overall] = str(number % 5 + 1)
    with filled.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=";").writerows([head, *reversed(rows[1:]), [""] * len(head)])
    scores = read_labels(filled, files.key)
    assert len(scores) == 5 * 16
    ok = [score for score in scores if score.state == "ok"]
    assert {score.dimension for score in ok} == {"Overall"}
    assert all(score.value is None and score.state == "pending" for score in scores if score not in ok)
    expected = {item_id(row[1], row[2]): float(row[overall]) for row in rows[1:]}
    texts = {(one.run, one.prompt_id): item_id(one.prompt, one.response) for one in ANSWERS}
    for score in ok:
        assert score.value == expected[texts[score.run, score.prompt_id]]
        assert (score.judge, score.protocol, score.repeat) == ("human:alice", "likert-16", 0)
        assert (score.seed, score.cluster) == (RUNS[score.run], f"c{int(score.prompt_id[1:]) // 2}")


def test_the_same_answer_of_two_runs_is_labelled_once(tmp_path: Path) -> None:
    answers = [answer(run, 0, "the same") for run in RUNS]
    files = write_label_template(tmp_path / "labels.csv", [*answers, answer("left out", 1)], RUNS, LIKERT, 10)
    assert len(cells(files.table)) == 2
    scores = read_labels(fill(files, "bob.csv"), files.key)
    assert sorted({score.run for score in scores}) == sorted(RUNS)
    assert {score.value for score in scores} == {4.0}
    assert len(scores) == 3 * 16


@pytest.mark.parametrize("attack", HOSTILE)
def test_hostile_responses_stay_text_in_the_table(tmp_path: Path, attack: str) -> None:
    text = HOSTILE[attack]
    files = write_label_template(tmp_path / "labels.csv", [answer("base", 0, text)], RUNS, LIKERT, 1)
    before = csv.field_size_limit(1 << 24)
    try:
        (_, row) = cells(files.table)
    finally:
        csv.field_size_limit(before)
    assert len(row) == 19
    assert restored_cell(row[2]) == text.replace("\x00", "\u2400")
    assert not row[2].startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
    assert b"\x00" not in files.table.read_bytes()
    assert {score.state for score in read_labels(files.table, files.key)} == {"pending"}
    assert csv.field_size_limit() == before


@pytest.mark.parametrize(
    "text", ["", "plain", "'", "'=1", "''x", "=1", "+1", "-1", "@x", "\t=1", "\r", "\n=1", "＝1"]
)
def test_guarded_cells_come_back(text: str) -> None:
    guarded = guarded_cell(text)
    assert restored_cell(guarded) == text
    assert guarded[:1] not in tuple("=+-@\t\r\n＝")
    assert guarded == text or guarded == f"'{text}"


@pytest.mark.parametrize("label", ["6", "0", "3.5", "4.0", "four", "=4", "true"])
def test_a_label_off_the_scale_is_named_by_row_and_column(tmp_path: Path, label: str) -> None:
    files = write_label_template(tmp_path / "labels.csv", ANSWERS, RUNS, LIKERT, 2)
    with pytest.raises(
        UserError, match=r"bob\.csv, row 2, GrammarFluency: a label is an integer from 1 to 5"
    ):
        read_labels(fill(files, "bob.csv", label), files.key)


@pytest.mark.parametrize("label", [" 4 ", "'4"])
def test_a_label_may_have_what_spreadsheets_put_around_it(tmp_path: Path, label: str) -> None:
    files = write_label_template(tmp_path / "labels.csv", ANSWERS, RUNS, LIKERT, 2)
    assert {score.value for score in read_labels(fill(files, "bob.csv", label), files.key)} == {4.0}


def test_mistakes_are_said(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    with pytest.raises(UserError, match="shows two"):
        write_label_template(path, ANSWERS, RUNS, load_protocol("pairwise"), 2)
    for nothing in (([], 2), (ANSWERS, 0)):
        with pytest.raises(UserError, match="no responses to label"):
            write_label_template(path, nothing[0], RUNS, LIKERT, nothing[1])
    files = write_label_template(path, ANSWERS, RUNS, LIKERT, 2)
    with pytest.raises(UserError, match="is there already"):
        write_label_template(path, ANSWERS, RUNS, LIKERT, 2)
    with pytest.raises(UserError, match="does not exist"):
        read_labels(tmp_path / "none.csv", files.key)
    other = tmp_path / "other.json"
    other.write_text('{"items": 3}')
    with pytest.raises(UserError, match=r"damaged: .*Give the \.key\.json that was written with"):
        read_labels(path, other)
    text = path.read_text(encoding="utf-8-sig")
    for changed, message in (
        (text.replace('"Tone"', '"Tune"'), "no column Tone"),
        (text + text.splitlines()[1] + "\n", "stands there twice"),
        (text.replace(text.splitlines()[1][1:17], "f" * 16), "is not in the key"),
        ("", "no column item, GrammarFluency"),
    ):
        path.write_text(changed, encoding="utf-8")
        with pytest.raises(UserError, match=message):
            read_labels(path, files.key)
    path.write_bytes("item;Größe".encode("latin-1"))
    with pytest.raises(UserError, match="not UTF-8"):
        read_labels(path, files.key)
