"""What a record of probes says: peaks, where they are expected, and labels."""

import numpy as np
import pytest

from stratalign.blocks import Site
from stratalign.diagnostics import ProbeSettings, States, Task, measure_probes, world_tasks
from stratalign.diagnostics.linear_probes import Curves
from stratalign.diagnostics.probes import describe
from stratalign.errors import UserError

SETTINGS = ProbeSettings(folds=4, controls=2, resamples=200, pairs=96)
SITES = [Site(f"layers.{layer}.q", layer, "q", 4, 4) for layer in range(4)]
BLOCKS = {"local": [0], "mid": [1, 2], "global": [3]}
CLUSTERS = [f"c{i % 24}" for i in range(96)]


def curves(accuracy, spread=0.01, **changes):
    accuracy = np.array(accuracy)
    draw = np.random.default_rng(0)
    drawn = accuracy + spread * draw.normal(size=(1000, len(accuracy)))
    level = np.full(len(accuracy), 0.5)
    made = {
        "accuracy": accuracy,
        "control": level,
        "accuracies": drawn,
        "controls": np.tile(level, (1000, 1)),
    }
    return Curves(**made, baseline=0.5, baselines=np.full(1000, 0.5)) if not changes else None


@pytest.mark.parametrize(
    ("accuracy", "spread", "expected", "verdict", "distance"),
    [
        ([0.5, 0.5, 0.9, 0.5, 0.5, 0.5, 0.5], 0.01, [0, 1], "not misaligned", 0),  # state 2 leaves layer 1
        (
            [0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.9],
            0.01,
            [0, 1],
            "misaligned",
            4,
        ),  # layer 5 is 4 away from layer 1
        ([0.5, 0.5, 0.5, 0.5, 0.5, 0.9, 0.5], 0.01, [0, 1], "not misaligned", 3),  # 3 is not more than 3
        (
            [0.9, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5],
            0.01,
            [0, 1],
            "cannot tell",
            0,
        ),  # the words alone: no layer is to be judged by it
        ([0.8, 0.5, 0.5, 0.5, 0.5, 0.5, 0.8], 0.05, [0, 1], "cannot tell", None),  # two peaks
        ([0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.51], 0.2, [0, 1], "cannot tell", None),  # nothing decodable
    ],
)
def test_a_peak_is_held_against_where_it_is_expected(accuracy, spread, expected, verdict, distance):
    found = describe(curves(accuracy, spread), "local", expected)
    assert found["expected"]["verdict"] == verdict
    if distance is not None:
        assert found["expected"]["distance"] == distance
        assert found["peak"]["decodable"]


def test_a_plateau_is_told_as_one():
    found = describe(curves([0.5, 0.8, 0.8, 0.8, 0.5], 0.02))["peak"]
    assert found["alike"] == [1, 2, 3]
    assert (found["low"], found["high"]) == (0, 2)


def made_states(width=6, branches=2):
    draw = np.random.default_rng(1)
    responses = draw.normal(size=(96, branches, 5, width)).astype(np.float32)
    prompt = draw.normal(size=(96, 5, width)).astype(np.float32)
    lengths = draw.integers(3, 9, size=(96, branches))
    return States(prompt, responses, lengths, 0)


def measured(states, tasks=(), **options):
    return measure_probes(states, [4] * 96, CLUSTERS, tasks, SITES, BLOCKS, SETTINGS, seed=0, **options)


def test_the_chosen_response_is_probed_for_without_any_labels():
    states = made_states()
    states.responses[:, 0, 2, 0] += 4  # planted in what leaves layer 1
    record = measured(states)
    own = record["tasks"]["preference"]
    assert own["peak"]["state"] == 2
    assert own["peak"]["layer"] == 1
    assert own["curve"][2]["accuracy"] > 0.95
    assert own["expected"] is None
    scores = record["scores"]
    assert max(scores["preference"], key=scores["preference"].get) == "layers.1.q"
    assert scores["preference_gain"]["layers.2.q"] < -0.2


def test_labels_of_prompts_and_of_responses():
    states = made_states()
    draw = np.random.default_rng(2)
    on_prompt = draw.integers(0, 3, size=96)
    states.prompt[np.arange(96), 4, on_prompt] += 5
    on_responses = draw.integers(0, 2, size=(96, 2))
    states.responses[:, :, 1, 3] += 5 * on_responses
    names = ["x", "y", "z"]
    tasks = [
        Task("kind", "", "prompt", [names[i] for i in on_prompt], "global"),
        Task("right", "", "response", [[str(v) for v in row] for row in on_responses], "local"),
        Task("rare", "", "prompt", ["one", *["other"] * 95], None),
    ]
    record = measured(states, tasks)
    kind, right = record["tasks"]["kind"], record["tasks"]["right"]
    assert kind["classes"] == names
    assert kind["peak"]["layer"] == 3
    assert kind["expected"]["verdict"] == "not misaligned"
    assert (right["examples"], right["peak"]["layer"]) == (192, 0)
    assert "rare" in record["skipped"]


def test_demonstrations_without_labels_are_refused():
    with pytest.raises(UserError, match="nothing to probe for"):
        measured(made_states(branches=1))


def test_the_micro_worlds_labels_are_those_of_its_verifiers():
    """Where amy lives, said rightly in one response and wrongly in the other; a prompt that is none of the world's."""
    from stratalign.microworld import people

    amy = people()["amy"]
    city = amy.facts["city"][0]
    other = "oslo" if city != "oslo" else "rome"
    prompts = ["tell one fact about amy.\n", "what is the weather?"]
    responses = [[f"amy lives in {city}.", f"amy live in {other}."], ["fine.", "bad."]]
    found = {task.name: task for task in world_tasks(prompts, responses)}
    assert list(found["grammar"].labels) == [("right", "wrong"), (None, None)]
    assert found["claims"].labels[0] == ("right", "wrong")
    assert found["coherence"].labels[0] == ("right", "right")
    assert found["form"].labels[0] == ("city", "city")
    assert found["fact_city"].labels == (city, None)
    assert [found[n].expected for n in ("grammar", "coherence", "claims")] == ["local", "mid", "global"]
    assert world_tasks(["hello"], [["a", "b"]]) == ()
