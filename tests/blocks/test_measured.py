"""Partitions from a record: change points of numbers against brute force, similarities, and what is refused."""

from fractions import Fraction
from itertools import combinations, pairwise, product

import pytest
from pydantic import ValidationError

from stratalign.blocks import PartitionSettings, Site, measured_partition, partition, segment_values
from stratalign.errors import UserError

SITES = [
    Site(f"model.layers.{layer}.{kind}", layer, kind, 8, 8)
    for layer in range(6)
    for kind in ("q_proj", "up_proj")
]


def made(record, blocks=("early", "late"), signal=None):
    settings = PartitionSettings(method="record", by="diagnostics/x.json", blocks=list(blocks), signal=signal)
    return measured_partition(settings, SITES, record)


def deviation(values, blocks):
    """The squared deviation within blocks, in exact fractions."""
    total = Fraction(0)
    for block in blocks:
        own = [Fraction(values[at]) for at in block]
        total += sum((x - sum(own) / len(own)) ** 2 for x in own)
    return total


def divisions(layers, count):
    for cuts in combinations(range(1, layers), count - 1):
        yield [range(start, stop) for start, stop in pairwise([0, *cuts, layers])]


@pytest.mark.parametrize(("layers", "numbers"), [(1, 3), (2, 3), (3, 3), (4, 3), (6, 2)])
def test_no_division_has_less_deviation_whatever_small_numbers_the_layers_have(layers, numbers):
    for values in product((0, 1, 4)[:numbers], repeat=layers):
        for count in range(1, layers + 1):
            found = segment_values(values, count)
            assert [layer for block in found for layer in block] == list(range(layers))
            least = min(deviation(values, blocks) for blocks in divisions(layers, count))
            assert deviation(values, found) == least


def test_neither_scale_nor_shift_changes_the_division():
    values = [0.0, 1.0, 7.0, 8.0, 8.5, 20.0, 21.0]
    for scale, shift in ((1e-9, 0.0), (1e-9, 1e-3), (1e9, 0.0), (1.0, -1e6)):
        assert segment_values([scale * x + shift for x in values], 3) == segment_values(values, 3)


def test_equal_layers_make_blocks_that_end_as_early_as_can_be():
    assert segment_values([3.0] * 5, 3) == (range(1), range(1, 2), range(2, 5))


def test_blocks_end_where_the_mean_score_of_the_layers_changes():
    # Means of layers: 1, 1, 1, 5, 5, 5 (q_proj and up_proj differ by 2 in each).
    by_layer = [1, 1, 1, 5, 5, 5]
    scores = {s.name: by_layer[s.layer] + (1 if s.kind == "q_proj" else -1) for s in SITES}
    assert made({"scores": {"norm": scores}}) == {"early": range(3), "late": range(3, 6)}
    last = {s.name: float(s.layer == 5) for s in SITES}
    assert made({"scores": {"norm": scores, "other": last}}, signal="other")["late"] == range(5, 6)


def test_a_record_with_similarities_of_layers_is_cut_by_them_unless_a_signal_is_named():
    alike = [[1.0 if (i < 2) == (j < 2) else 0.1 for j in range(6)] for i in range(6)]
    record = {"layer_similarity": alike, "scores": {"change": {s.name: float(s.layer == 5) for s in SITES}}}
    assert made(record)["early"] == range(2)
    assert made(record, signal="layer_similarity")["early"] == range(2)
    assert made(record, signal="change")["early"] == range(5)


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"scores": {}}, "has nothing that a partition could be made by"),
        ({"scores": {"norm": {"model.layers.9.q_proj": 1.0}}}, "of another model"),
        ({"scores": {"norm": {SITES[0].name: 1.0}}}, "no numbers for layer 1"),
        ({"layer_similarity": [[1.0]], "scores": {}}, "of 1 layers, this model has 6"),
    ],
)
def test_records_that_fit_no_partition_are_refused(record, said):
    with pytest.raises(UserError, match=said):
        made(record)


def test_signals_that_are_not_there_and_too_many_blocks_are_refused():
    record = {"scores": {"norm": {s.name: 1.0 for s in SITES}}}
    with pytest.raises(UserError, match="Did you mean 'norm'"):
        made(record, signal="nor")
    with pytest.raises(UserError, match="do not suffice"):
        made(record, blocks="abcdefg")


def test_settings_without_a_record_or_with_one_too_many_are_refused():
    for wrong in (
        {"method": "record"},
        {"by": "x.json"},
        {"method": "record", "by": "x", "blocks": {"a": [0]}},
    ):
        with pytest.raises(ValidationError, match="record"):
            PartitionSettings(**wrong)
    with pytest.raises(UserError, match="needs the record"):
        partition(6, "record")
