"""Facts about a real file of 1,500 hh-rlhf rows; skipped unless STRATALIGN_HH_RLHF names it."""

from __future__ import annotations

import gzip
import json
import os
from dataclasses import replace
from typing import Any

import pytest

from stratalign.preferences import PreferenceSettings, leaks, load, split, tokenize

SOURCE = os.environ.get("STRATALIGN_HH_RLHF", "")

pytestmark = pytest.mark.skipif(not SOURCE, reason="STRATALIGN_HH_RLHF does not name the file")

ALL = PreferenceSettings(source=SOURCE or "x", train="all", validation=100, held_out=400)


def raw_rows() -> list[dict[str, str]]:
    with gzip.open(SOURCE, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def test_all_rows_are_usable_but_those_with_an_empty_response() -> None:
    preferences = load(ALL)
    assert preferences.total == 1500
    # Found with rstrip().endswith("Assistant:") on each side of the raw rows.
    empty = [
        line
        for line, row in enumerate(raw_rows(), start=1)
        if any(row[side].rstrip().endswith("\n\nAssistant:") for side in ("chosen", "rejected"))
    ]
    assert [row.line for row in preferences.bad] == empty
    assert {row.reason for row in preferences.bad} == {"empty response"}


def test_clusters_are_the_distinct_first_human_turns() -> None:
    firsts = [row["chosen"].split("\n\nAssistant:")[0] for row in raw_rows()]
    assert len(firsts) - len(set(firsts)) == 64  # rows that repeat another's first turn to the letter
    blind = {" ".join(first.casefold().split()) for first in firsts}
    bad = {row.line for row in load(ALL).bad}
    assert len({row.cluster for row in load(ALL).rows}) == len(
        {" ".join(first.casefold().split()) for line, first in enumerate(firsts, start=1) if line not in bad}
    )
    assert len(firsts) - len(blind) == 65  # one more differs in case or white space alone


def test_a_split_by_exact_prompts_leaks_first_turns_and_ours_does_not() -> None:
    rows = load(ALL).rows
    assert leaks(split(rows, ALL)) == ()
    true = {row.line: row.cluster for row in rows}
    naive = split([replace(row, cluster=str(row.prompt)) for row in rows], ALL)
    trained = {true[row.line] for row in naive.train}
    assert {true[row.line] for row in naive.held_out} & trained


def test_no_prompt_runs_into_a_response(tokenizer: Any) -> None:
    rows = load(ALL).rows
    assert all(str(row.prompt).endswith("\n\nAssistant:") for row in rows)
    done = tokenize(rows, tokenizer, ALL)
    assert done.bad == ()
    for row, tree in zip(rows, done.trees, strict=True):
        assert tokenizer.decode(tree.prefix) == row.prompt
        assert tokenizer.decode(tree.branches[0].ids) == f"{row.chosen}<eos>"


@pytest.mark.peer
@pytest.mark.filterwarnings("default")
def test_trl_s_prompt_runs_into_the_responses_where_they_share_first_words() -> None:
    from trl.data_utils import extract_prompt

    raw = raw_rows()
    theirs = {line: extract_prompt(row)["prompt"] for line, row in enumerate(raw, start=1)}
    longer = [row.line for row in load(ALL).rows if len(theirs[row.line]) > len(str(row.prompt))]
    assert len(longer) == 275  # 18 % of 1,498; everywhere else the two agree
    assert all(theirs[row.line] == row.prompt for row in load(ALL).rows if row.line not in set(longer))
