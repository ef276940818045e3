from __future__ import annotations

import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stratalign.errors import UserError
from stratalign.preferences import Preference, PreferenceSettings, Split, leaks, split

sizes_of_clusters = st.lists(st.integers(1, 6), min_size=1, max_size=40)


def rows_of(sizes: list[int]) -> list[Preference]:
    """Clusters of the given sizes, their rows interleaved as far as possible."""
    names = [f"c{i}" for turn in range(max(sizes)) for i, size in enumerate(sizes) if turn < size]
    return [Preference(f"r{i}", i, "p", "c", "r", name, "text") for i, name in enumerate(names, start=1)]


def asked(held_out: int, validation: int, train: int | str, seed: int = 42) -> PreferenceSettings:
    return PreferenceSettings.model_validate(
        {"source": "x", "held_out": held_out, "validation": validation, "train": train, "seed": seed}
    )


def counts(parts: Split) -> tuple[int, int, int, int]:
    return len(parts.held_out), len(parts.validation), len(parts.train), len(parts.unused)


@given(
    sizes_of_clusters,
    st.integers(0, 20),
    st.integers(0, 20),
    st.integers(1, 40) | st.just("all"),
    st.integers(0, 9),
)
@settings(deadline=None)
def test_no_cluster_ever_lies_in_two_parts_and_no_row_is_lost(
    sizes: list[int], held_out: int, validation: int, train: int | str, seed: int
) -> None:
    rows = rows_of(sizes)
    try:
        parts = split(rows, asked(held_out, validation, train, seed))
    except UserError:
        return
    where: dict[str, set[str]] = {}
    for name in ("train", "validation", "held_out", "unused"):
        for row in getattr(parts, name):
            where.setdefault(row.cluster, set()).add(name)
    assert all(len(names) == 1 for names in where.values())
    assert leaks(parts) == ()
    together = parts.train + parts.validation + parts.held_out + parts.unused
    assert Counter(together) == Counter(rows)
    assert (len(parts.held_out), len(parts.validation)) == (held_out, validation)
    assert len(parts.train) == (len(rows) - held_out - validation if train == "all" else train)


@given(st.integers(0, 20), st.integers(0, 20), st.integers(1, 20), st.integers(0, 20), st.integers(0, 9))
@settings(deadline=None)
def test_sizes_are_exact_when_every_row_is_its_own_cluster(
    held_out: int, validation: int, train: int, more: int, seed: int
) -> None:
    parts = split(
        rows_of([1] * (held_out + validation + train + more)), asked(held_out, validation, train, seed)
    )
    assert counts(parts) == (held_out, validation, train, more)


@given(sizes_of_clusters, st.integers(0, 60), st.integers(0, 60), st.integers(1, 200) | st.just("all"))
@settings(deadline=None)
def test_the_numbers_that_a_refusal_suggests_work(
    sizes: list[int], held_out: int, validation: int, train: int | str
) -> None:
    rows = rows_of(sizes)
    message = refusal(rows, asked(held_out, validation, train))
    found = re.search(
        r"These work: held_out: (\d+), validation: (\d+), (?:train: (\d+)|`train: all`)", message
    )
    if found is None:
        assert message == "" or "too few to split" in message
        return
    first, second, third = found.groups()
    parts = split(rows, asked(int(first), int(second), int(third) if third else "all"))
    assert counts(parts)[:2] == (int(first), int(second))


def refusal(rows: list[Preference], wanted: PreferenceSettings) -> str:
    """What a split is refused with; nothing when it is not."""
    try:
        split(rows, wanted)
    except UserError as error:
        return str(error)
    return ""


def test_a_large_cluster_is_passed_over_for_those_that_fit() -> None:
    # 5 + 1 + 1 + 1: a held-out part of 2 must be two of the singles whatever the order, and train takes the rest.
    for seed in range(10):
        parts = split(rows_of([5, 1, 1, 1]), asked(2, 0, "all", seed))
        assert {row.cluster for row in parts.held_out} < {"c1", "c2", "c3"}
        assert len(parts.train) == 6


def test_added_rows_leave_the_others_where_they_were() -> None:
    before = split(rows_of([1] * 100), asked(20, 0, "all"))
    after = split(rows_of([1] * 110), asked(20, 0, "all"))
    kept = {row.cluster for row in before.held_out} & {row.cluster for row in after.held_out}
    new = {f"c{i}" for i in range(100, 110)} & {row.cluster for row in after.held_out}
    # Each new cluster that comes early in the order pushes out exactly one old one, the last.
    assert len(kept) == 20 - len(new)


def test_the_seed_decides_and_the_order_of_the_source_does_not() -> None:
    rows = rows_of([1, 2, 1, 1, 3, 1, 1, 2])
    one = split(rows, asked(3, 1, "all"))
    turned = split(rows[::-1], asked(3, 1, "all"))
    other = split(rows, asked(3, 1, "all", seed=1))
    assert one == turned
    assert one.held_out != other.held_out
    assert [row.line for row in one.train] == sorted(row.line for row in one.train)


def test_too_few_rows_are_told_with_what_was_asked_and_found() -> None:
    # 30 rows of single clusters for 100 + 20 + 180 = 300: a tenth of each part, and train the rest.
    with pytest.raises(UserError) as caught:
        split(rows_of([1] * 30), asked(100, 20, 180))
    message = str(caught.value)
    assert "held_out: 100, validation: 20 and train: 180" in message
    assert "30 usable rows in 30 clusters" in message
    assert "These work: held_out: 10, validation: 2, train: 18 (or `train: all`)" in message


def test_a_part_that_whole_clusters_cannot_fill_is_refused_rather_than_split() -> None:
    with pytest.raises(UserError, match="These work: held_out: 2"):
        split(rows_of([2, 2, 2]), asked(3, 0, "all"))


def test_leaks_names_the_cluster_that_lies_in_two_parts() -> None:
    a, b, c = (Preference(f"r{i}", i, "p", "c", "r", name, "text") for i, name in enumerate(["x", "x", "y"]))
    assert leaks(Split(train=(a,), validation=(), held_out=(b, c), unused=())) == ("x",)
    assert leaks(Split(train=(a, b), validation=(c,), held_out=(), unused=())) == ()
