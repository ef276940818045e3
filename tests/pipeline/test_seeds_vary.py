"""What seeds vary: by default initialisation and sampling; the order of the pairs too, in a pass for each seed."""

import json
from collections import Counter

import numpy as np
import pytest
import yaml

import stratalign as sa
from stratalign.errors import UserError
from stratalign.pipeline.diagnosing import _plan
from stratalign.recipe import parse_recipe
from stratalign.records import keyed_seed, read_jsonl
from tiny_models import small_recipe

ALL = ["init", "order", "sampling"]


CONDITIONS = {
    "base": None,
    "mid": None,
    "shuffled": {"block": "global", "labels": "shuffled", "dropout": 0.2},
}


@pytest.fixture(scope="module")
def small(make_model, transcripts):
    """`small(seeds=[0, 1])`: a recipe of 8 pairs in 4 steps over 2 epochs, parsed."""
    smallest = small_recipe(make_model("llama", layers=3), transcripts)
    smallest["preferences"] |= {"train": 8, "validation": 2, "held_out": 4}
    smallest["training"] |= {"batch_size": 2}
    return lambda **changes: parse_recipe({**smallest, "conditions": CONDITIONS, **changes})


@pytest.fixture(scope="module")
def usual(small, tmp_path_factory):
    """A study of two seeds whose recipe does not say what they vary; only looked at."""
    return sa.generate(small(seeds=[0, 1]), out=tmp_path_factory.mktemp("usual") / "out")


@pytest.fixture
def passes(monkeypatch):
    """The runs of every training pass, and the pairs of its steps."""
    from stratalign.pipeline.stages import training

    seen = []
    stock = training.train

    def watched(engine, runs, trees, steps, **options):
        pairs = [[i for micro in step for i in micro.pairs] for step in steps]
        seen.append(([run.id for run in runs], [i for step in pairs for i in step]))
        return stock(engine, runs, trees, steps, **options)

    monkeypatch.setattr(training, "train", watched)
    return seen


def adapters(folder):
    return {
        path.name: (path / "adapter_model.safetensors").read_bytes() for path in folder.adapters.iterdir()
    }


def answers(folder, run):
    return [row["response"] for row in read_jsonl(folder.responses) if row["run"] == run]


def order(*key):
    """The 8 training pairs as the generator of this key permutes them, in both epochs; 42 is the preferences' seed."""
    return [
        i
        for epoch in (0, 1)
        for i in np.random.default_rng(keyed_seed("order of pairs", 42, *key, epoch)).permutation(8).tolist()
    ]


def test_by_default_seeds_vary_initialisation_and_sampling_in_one_pass_and_one_order(
    small, usual, tmp_path, passes
):
    said = sa.train(small(seeds=[0, 1], seeds_vary=["sampling", "init"]), out=tmp_path / "said")
    assert passes == [(["mid@0", "mid@1", "shuffled@0", "shuffled@1"], order())]
    assert adapters(usual) == adapters(said)
    assert usual.logprobs.read_bytes() == said.logprobs.read_bytes()
    for folder in (usual, said):
        assert json.loads(folder.manifest.read_text())["seeds_vary"] == ["init", "sampling"]
        assert yaml.safe_load(folder.recipe.read_text())["seeds_vary"] == ["init", "sampling"]
        stored = json.loads(folder.fingerprints.read_text())
        assert not any("seeds_vary" in key for entry in stored.values() for key in entry)


def test_each_order_of_pairs_is_a_pass_that_gives_the_bytes_of_the_seed_alone(small, usual, tmp_path, passes):
    both = sa.train(small(seeds=[0, 1], seeds_vary=ALL), out=tmp_path / "both")
    assert passes == [(["mid@0", "shuffled@0"], order()), (["mid@1", "shuffled@1"], order(1))]
    assert Counter(order(1)) == Counter(order())
    alone = sa.train(small(seeds=[1], seeds_vary=ALL), out=tmp_path / "alone")
    found, before = adapters(both), adapters(usual)
    assert {name: found[f"{name}@1"] for name in ("mid", "shuffled")} == adapters(alone)
    # seed 0 has the order that all seeds have by default, so its adapters are those of a study without `order`
    assert [name for name in sorted(found) if found[name] == before[name]] == ["mid@0", "shuffled@0"]
    shared_seconds = {
        run: its["shared_seconds"] for run, its in json.loads(both.timings.read_text())["runs"].items()
    }
    assert shared_seconds["mid@0"] == shared_seconds["shuffled@0"]
    assert shared_seconds["mid@1"] == shared_seconds["shuffled@1"]
    steps = Counter((row["run"], row["step"]) for row in read_jsonl(both.training))
    assert steps == {(run, step): 1 for run in found for step in (1, 2, 3, 4)}


def test_a_seed_added_to_a_study_whose_seeds_vary_the_order_trains_alone(small, tmp_path, passes):
    conditions = {"base": None, "mid": {"block": "mid", "tune": {"learning_rate": [1e-3, 1e-2]}}}
    grown, more = {"conditions": conditions, "seeds_vary": ALL}, ["mid-0.001", "mid-0.01"]
    sa.train(small(**grown), out=tmp_path / "grown")
    folder = sa.train(small(**grown, seeds=[0, 1]), out=tmp_path / "grown")
    assert passes == [(more, order()), ([f"{name}@1" for name in more], order(1))]
    passes.clear()
    at_once = sa.train(small(**grown, seeds=[0, 1]), out=tmp_path / "at once")
    assert passes == [([f"{name}@0" for name in more], order()), ([f"{name}@1" for name in more], order(1))]
    assert adapters(folder) == adapters(at_once)


def test_what_seeds_do_not_vary_is_that_of_seed_0(small, usual, tmp_path):
    start, noise = (
        sa.generate(small(seeds=[0, 1], seeds_vary=[name]), out=tmp_path / name)
        for name in ("init", "sampling")
    )
    assert answers(usual, "base@0") != answers(usual, "base@1")
    assert answers(start, "base@0") == answers(start, "base@1") == answers(usual, "base@0")
    assert adapters(start) == adapters(usual)
    of_seed_0 = {run.partition("@")[0]: own for run, own in adapters(usual).items() if run.endswith("@0")}
    assert adapters(noise) == {f"{name}@{seed}": own for name, own in of_seed_0.items() for seed in (0, 1)}
    assert answers(noise, "base@1") == answers(usual, "base@1")


def test_the_coin_and_dropout_belong_to_the_initialisation(small, tmp_path):
    start, rest = (
        {run.id: run for run in sa.plan(small(seeds=[0, 3], seeds_vary=names), out=tmp_path / "out").runs}
        for names in (["init"], ["order", "sampling"])
    )
    rows = [f"r{i}" for i in range(64)]

    def coins(run):
        return [run.swaps(row) for row in rows]

    assert coins(start["shuffled@0"]) != coins(start["shuffled@3"])
    assert coins(rest["shuffled@0"]) == coins(rest["shuffled@3"]) == coins(start["shuffled@0"])
    drawn = [[run.seed_of(what) for what in ALL] for run in (start["mid@3"], rest["mid@3"], rest["mid@0"])]
    assert drawn == [[3, 0, 0], [0, 3, 3], [0, 0, 0]]
    assert [start["mid@3"].adapter.seed, rest["mid@3"].adapter.seed] == [3, 0]


def test_another_seeds_vary_is_refused_for_the_runs_that_it_would_change(small, usual):
    with pytest.raises(UserError, match="would make stale") as refused:
        sa.plan(small(seeds=[0, 1], seeds_vary=ALL), out=usual.path)
    assert [line for line in str(refused.value).splitlines() if line.startswith("  ")] == [
        "  run mid@1: seeds_vary.order was not listed, now listed",
        "  run shuffled@1: seeds_vary.order was not listed, now listed",
    ]
    with pytest.raises(UserError, match=r"run base@1: seeds_vary\.sampling was listed, now not listed"):
        sa.plan(small(seeds=[0, 1], seeds_vary=["init"]), out=usual.path)
    sa.plan(small(seeds=[0, 1], seeds_vary=["sampling", "init"]), out=usual.path)
    sa.plan(small(seeds=[0], seeds_vary=ALL), out=usual.path)  # seed 0 is the same whatever seeds vary


def test_a_plan_counts_passes_and_a_diagnosis_keeps_to_one_order(small, tmp_path):
    varied = small(seeds=[0, 1, 2], seeds_vary=["order"])
    assert sa.plan(varied, out=tmp_path / "out").describe()["passes"] == 3
    assert sa.plan(small(seeds=[0, 1, 2]), out=tmp_path / "out").describe()["passes"] == 1
    (run,) = _plan(
        varied, tmp_path / "out", varied.diagnostics.significance.model_copy(update={"seed": 4})
    ).runs
    assert [run.seed_of("init"), run.seed_of("order")] == [4, 0]


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (
            ["init", "ordr"],
            r"seeds_vary: Unknown name 'ordr'\. Did you mean 'order'\? Known: init, order, sampling\.",
        ),
        (
            [],
            r"The 2 seeds would all give the same results, since seeds_vary is empty; list at least one of init, ",
        ),
        (["order", "order"], r"seeds_vary: each name may be listed once, got \['order', 'order'\]\."),
    ],
)
def test_what_cannot_be_varied_is_refused(small, written, said):
    with pytest.raises(UserError, match=said):
        small(seeds=[0, 1], seeds_vary=written)


def test_one_seed_needs_nothing_to_vary(small):
    assert small(seeds_vary=[]).seeds_vary == []
