"""The study that reports are measured on is one that a report can be made of."""

from __future__ import annotations

from pathlib import Path

from benchmarks.large_study import write_study
from stratalign.records import StudyFolder, read_scores
from stratalign.reporting import read_study, summarise


def test_it_has_scores_of_every_run_on_every_dimension_and_conclusions(tmp_path: Path) -> None:
    study = StudyFolder(tmp_path)
    write_study(study, prompts=40, trained=["mid"], dimensions=3, words=5)
    assert len(read_scores(study.scores)) == 40 * 2 * (
        3 + 3
    )  # the judge's dimensions and three measures of text
    results = summarise(read_study(tmp_path))
    assert results.objective == ("Overall",)
    assert [run.run for run in results.runs] == ["base", "mid"]
