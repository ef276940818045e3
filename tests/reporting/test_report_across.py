"""Several studies in one report: ranks and pooled contrasts by hand, and what is never put into one table."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from fake_studies import answer, judges, manifest, score
from likert_studies import likert_studies, likert_study
from test_report_page import Parsed

from stratalign import stats
from stratalign.errors import UserError
from stratalign.records import StudyFolder, append_jsonl, read_json, write_json, write_scores, write_text
from stratalign.reporting import read_study, recommend, report, summarise
from stratalign.reporting.page.answer_box import answer_box
from stratalign.reporting.page.sections import view
from stratalign.reporting.tables.pooling import pool
from stratalign.reporting.tables.ranking import Judging, ranks, strategies

SCORES = {
    "one": {"base": [1, 2, 3, 4], "mid": [2, 3, 4, 5]},
    "two": {"base": [1, 1, 1, 1], "mid": [1, 1, 1, 5]},
}


def small(path: Path, name: str, source: str = "lab/set", question: str = "What is it?") -> Path:
    """Two runs on four prompts, two to a cluster, scored on `overall`."""
    study = StudyFolder(path)
    write_json(study.manifest, manifest(["base", "mid"], name=name))
    write_text(
        study.recipe, f"preferences: {{source: {source}, objective: [overall]}}\nconditions: [base, mid]\n"
    )
    write_json(study.judges, judges(overall="higher"))
    rows = SCORES[name].items()
    write_scores(
        study.scores,
        [score(r, n, v, "overall", cluster=f"c{n // 2}") for r, its in rows for n, v in enumerate(its)],
    )
    append_jsonl(
        study.responses, [answer(r, n, "An answer.", f"{question} {n}") for r, _ in rows for n in range(4)]
    )
    return path


def judging(path: Path) -> Judging:
    records = read_study(path)
    results = summarise(records)
    box = answer_box(recommend(records, results), (), {}, "study")
    return view(records, results, box, "study-1", path.name).member.judging


def text_of(page: Path) -> str:
    return " ".join(Parsed(page.read_text(encoding="utf-8")).text.split())


def test_strategies_and_ranks_by_hand(tmp_path: Path) -> None:
    both = [judging(small(tmp_path / name, name)) for name in SCORES]
    base, mid = strategies(both)
    # base: 1 2 3 4 1 1 1 1 has mean 14 / 8 and median 1; mid: 2 3 4 5 1 1 1 5 has mean 22 / 8 and median 2.5.
    assert base.pooled is not None
    assert (base.pooled.mean, base.pooled.median, base.pooled.n) == (1.75, 1.0, 8)
    assert mid.pooled is not None
    assert (mid.pooled.mean, mid.pooled.median) == (2.75, 2.5)
    # Squared distances from 1.75: .5625 x 5 + .0625 + 1.5625 + 5.0625 = 9.5, over n - 1 = 7.
    assert base.pooled.deviation == pytest.approx((9.5 / 7) ** 0.5)
    assert [its.mean for its in mid.each if its] == [3.5, 2.0]
    assert [(row.rank, row.model, row.condition) for row in ranks(both)] == [
        (1, "one", "mid"), (2, "one", "base"), (3, "two", "mid"), (4, "two", "base"),
    ]  # fmt: skip


def test_pooled_contrasts_stack_the_rows_and_keep_a_prompts_rows_together(tmp_path: Path) -> None:
    both = [judging(small(tmp_path / name, name)) for name in SCORES]
    (row,) = pool(both).rows
    # one: four wins; two: three ties and a win. Five wins of eight rows, in two clusters and not in four or eight.
    assert (row.pooled.wins, row.pooled.ties, row.pooled.losses, row.pooled.clusters) == (5, 3, 0, 2)
    assert row.pooled.net_win_rate == 5 / 8
    stacked = [np.array([*SCORES["one"][run], *SCORES["two"][run]], float) for run in ("mid", "base")]
    assert row.pooled == stats.compare(*stacked, ["c0", "c0", "c1", "c1"] * 2)
    assert [its and its.net_win_rate for its in row.each] == [1.0, 0.25]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"source": "lab/other"}, "different preference sets"),
        ({"question": "Who is it?"}, "different prompts"),
    ],
)
def test_what_does_not_belong_together_is_not_pooled(
    tmp_path: Path, changes: dict[str, str], reason: str
) -> None:
    page = report([small(tmp_path / "one", "one"), small(tmp_path / "two", "two", **changes)])
    assert reason in text_of(page)
    assert "pooled verdict" not in text_of(page)
    with (tmp_path / "report_files" / "tables" / "strategies.csv").open() as file:
        assert not {"mean", "sd"} & set(next(csv.reader(file)))


def test_a_pooled_number_always_has_every_models_own_beside_it(tmp_path: Path) -> None:
    text = text_of(report([small(tmp_path / name, name) for name in SCORES]))
    (header,) = re.findall(r"each model’s own and pooled(.*?)pooled verdict", text)
    assert "one" in header
    assert "two" in header


def test_protocols_never_share_a_table(tmp_path: Path) -> None:
    one, two = small(tmp_path / "one", "one"), small(tmp_path / "two", "two")
    changed = read_json(StudyFolder(two).judges)
    changed["judges"][0]["hash"] = "1" * 64
    write_json(StudyFolder(two).judges, changed)
    text = text_of(report([one, two]))
    assert "No two of these studies were judged under the same protocol" in text
    assert not (tmp_path / "report_files").exists()


def test_the_one_study_under_another_protocol_is_named(tmp_path: Path) -> None:
    folders = likert_studies(tmp_path, ("A", "B"), prompts=6, words=3)
    other = likert_study(tmp_path / "C", "C", prompts=6, words=3, protocol="hardened")
    page = report([*folders, other])
    assert "C was judged under a protocol that no other study here was judged under" in text_of(page)
    ranked = (tmp_path / "report_files" / "tables" / "ranks.csv").read_text()
    assert "lab/A" in ranked
    assert "lab/C" not in ranked


def test_the_same_studies_give_the_same_bytes(tmp_path: Path) -> None:
    folders = likert_studies(tmp_path, ("A", "B"), prompts=6, words=3)
    page = report(folders)
    first = {path: path.read_bytes() for path in [page, *tmp_path.rglob("report_files/*/*")]}
    assert len(first) > 8
    report(folders)
    assert {path: path.read_bytes() for path in first} == first


def test_a_study_given_twice_is_refused_by_whatever_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = likert_study(tmp_path / "study", prompts=4, words=3)
    (tmp_path / "link").symlink_to(study)
    monkeypatch.chdir(tmp_path)
    for again, shown in (
        (study, str(study)),
        (Path("study"), f"{study} and study"),
        (tmp_path / "link", "link"),
    ):
        with pytest.raises(UserError, match="One study is given twice") as caught:
            report([study, again])
        assert shown in str(caught.value)
    assert not (study / "results.json").exists()
