"""Our joint training against stock TRL + PEFT on the same rows, and planted mistakes that it must notice.

Twelve steps in float32 at learning rate 1e-3, A copied in; at 1e-5 the loss hardly moves and a wrong rate passes.
"""

import math
from dataclasses import replace

import pytest
import torch

from stratalign.errors import UserError
from stratalign.pipeline import parity, plan, stock_trl, verify
from stratalign.recipe import parse_recipe
from stratalign.records import append_jsonl
from stratalign.training import TrainingSettings, loop, runs

SMALL = {"learning_rate": 1e-3, "batch_size": 2, "gradient_accumulation": 2, "rank": 4, "alpha": 8}
EVERY = {
    "full": None,
    "local": None,
    "mid": None,
    "global": None,
    "chosen": {"layers": [0, 3, 5]},
    "thin": {"block": "full", "parameters_like": "mid"},
    "shuffled": {"block": "full", "labels": "shuffled"},
    "wider": {"block": "mid", "targets": ["q_proj", "down_proj"], "beta": 0.3, "rank": 6},
}


@pytest.fixture(scope="module")
def prepared(make_model, transcripts, tmp_path_factory):
    """A plan with two conditions, and what TRL made of them; ours is trained anew by each test."""
    recipe = parse_recipe(
        {
            "model": str(make_model("llama")),
            "preferences": {"source": str(transcripts), "train": 18, "validation": 0, "held_out": 8},
            "conditions": ["full", "mid"],
            "training": SMALL,
        }
    )
    scratch = tmp_path_factory.mktemp("parity")
    planned = plan(recipe, out=scratch / "study")
    compared, _ = parity._comparable(planned, 1e-3)
    rows, trees, windows = parity._material(planned, 12)
    theirs = {
        run.id: stock_trl.train_with_trl(planned, run, rows, windows, trees, scratch) for run in compared
    }
    return planned, compared, trees, windows, theirs


@pytest.fixture
def agreements(prepared, tmp_path):
    """Train ours (perhaps with a mistake planted in it) and compare with TRL's outcome."""
    planned, compared, trees, windows, theirs = prepared

    def compare():
        ours = parity._train_ours(planned, compared, trees, windows, tmp_path, torch.float32)
        return {run.id: parity._compare(run, ours[run.id], theirs[run.id], trees) for run in compared}

    return compare


def test_the_joint_training_equals_stock_trl(agreements):
    for name, found in agreements().items():
        assert found.max_loss_difference <= 1e-5, name
        assert found.max_log_ratio_difference <= 1e-4, name
        assert found.relative_update_difference <= 1e-3, name
        assert found.loss_moved >= 5e-3, name
        assert found.same_modules, name
        assert found.same_tokens, name


@pytest.mark.peer
def test_a_learning_rate_off_by_a_tenth_is_noticed(agreements, monkeypatch):
    stock = runs.rate_factor
    monkeypatch.setattr(runs, "rate_factor", lambda *args: 1.1 * stock(*args))
    assert all(found.outcome == "differs" for found in agreements().values())


@pytest.mark.peer
def test_a_beta_off_by_a_tenth_is_noticed(agreements, monkeypatch):
    stock = loop.preference_loss
    monkeypatch.setattr(
        loop,
        "preference_loss",
        lambda policy, ref, tokens, one: stock(policy, ref, tokens, replace(one, beta=1.1 * one.beta)),
    )
    assert all(found.outcome == "differs" for found in agreements().values())


@pytest.mark.peer
def test_clipping_all_runs_by_one_norm_is_noticed(agreements, monkeypatch):
    """The norm over both runs together is larger than each run's own, so both would be clipped too hard."""
    trainers = []
    stock_begin = runs.RunTrainer.begin

    def begin(self, step):
        if self not in trainers:
            trainers.append(self)
        stock_begin(self, step)

    def clip(self, step):
        every = [p.grad for trainer in trainers for p in trainer.parameters.values() if p.grad is not None]
        norm = math.sqrt(sum(float(grad.square().sum()) for grad in every))
        for p in self.parameters.values():
            p.grad.mul_(min(1.0, self.run.settings.clip / norm))
        return norm

    monkeypatch.setattr(runs.RunTrainer, "begin", begin)
    monkeypatch.setattr(runs.RunTrainer, "clip", clip)
    assert any(found.outcome == "differs" for found in agreements().values())


def test_an_adapter_on_the_wrong_layer_is_noticed(prepared, agreements, monkeypatch):
    compared = prepared[1]

    def shifted(run):
        up = {f"layers.{i}.": f"layers.{i + 1}." for i in run.condition.layers}
        names = {m: m.replace(old, new) for m in run.condition.modules for old, new in up.items() if old in m}
        phase = replace(run.condition.phases[0], modules=dict.fromkeys(names.values(), 1e-3))
        return replace(run, condition=replace(run.condition, modules=tuple(names.values()), phases=(phase,)))

    mid = next(run for run in compared if run.id == "mid")
    compared[compared.index(mid)] = shifted(mid)
    try:
        found = agreements()["mid"]
    finally:
        compared[:] = [mid if run.id == "mid" else run for run in compared]
    assert not found.same_modules
    assert found.outcome == "differs"


@pytest.mark.peer
@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_every_condition_equals_stock_trl(kind, make_model, recipe):
    found = verify(parse_recipe(recipe(model=str(make_model(kind)), conditions=EVERY, training=SMALL)))
    print({name: (a.max_loss_difference, a.max_log_ratio_difference, a.relative_update_difference, a.loss_moved)
           for name, a in found.conditions.items()})  # fmt: skip
    assert set(found.conditions) == set(EVERY)
    assert found.outcome == "agrees", found.to_json()


@pytest.mark.peer
def test_other_losses_equal_stock_trl(recipe):
    losses = ["ipo", "hinge", "apo_zero", "apo_down", "sft"]
    conditions = {
        "mid": {"block": "mid", "loss": losses},
        "robust": {"block": "mid", "loss": "robust", "label_smoothing": 0.2},
        "normed": {"block": "mid", "loss": "sigmoid_norm", "beta": 5},  # at 0.1 its loss hardly moves
        "rpo": {"block": "mid", "nll": 0.5},
        "shuffled": {"block": "mid", "loss": "ipo", "labels": "shuffled", "beta": 1.0},
    }
    alone = {**SMALL, "batch_size": 1}  # where TRL's mean over the tokens of a micro-batch is ours
    found = verify(parse_recipe(recipe(conditions=conditions, training=alone)))
    print({name: (a.max_loss_difference, a.max_log_ratio_difference, a.relative_update_difference, a.loss_moved)
           for name, a in found.conditions.items()})  # fmt: skip
    assert set(found.conditions) == {
        "robust",
        "normed",
        "rpo",
        "shuffled",
        *(f"mid-{loss}" for loss in losses),
    }
    assert found.outcome == "agrees", found.to_json()


@pytest.mark.peer
def test_sft_alone_computes_the_chosen_responses_only_and_equals_stock_trl(recipe, tmp_path):
    alone = {**SMALL, "batch_size": 1, "loss": "sft"}
    found = verify(parse_recipe(recipe(conditions=["mid"], training=alone)), steps=4)
    assert found.outcome == "agrees", found.to_json()
    source = tmp_path / "demonstrations.jsonl"
    append_jsonl(source, [{"prompt": f"p{i}", "response": "r"} for i in range(30)])
    preferences = {"source": str(source), "train": 18, "validation": 0, "held_out": 8}
    with pytest.raises(UserError, match="needs chosen and rejected, but the preferences hold demonstrations"):
        verify(parse_recipe(recipe(conditions=["mid"], training=alone, preferences=preferences)))


@pytest.mark.parametrize(
    ("own", "why"),
    [
        ({"loss": "simpo"}, "no simpo"),
        ({"label_smoothing": 0.1}, "does not smooth the labels of sigmoid"),
        ({"loss": "sft"}, "equal with training.batch_size: 1"),
        ({"loss": "ipo", "nll": 0.5}, "equal with training.batch_size: 1"),
        ({"loss": "robust", "label_smoothing": 0.1}, None),
        ({"loss": "sft", "batch_size": 1}, None),
    ],
)
def test_a_loss_that_trl_has_not_or_takes_otherwise_is_named(own, why):
    found = stock_trl.unlike_trl(TrainingSettings(**own))
    assert found is None if why is None else why in found


@pytest.mark.peer
@pytest.mark.parametrize("kind", ["gpt_neox", "gpt2", "phi3", "gemma3_text", "qwen3_moe", "mixtral", "bloom"])
def test_other_families_with_the_default_targets_equal_stock_trl(kind, make_model, recipe):
    found = verify(
        parse_recipe(recipe(model=str(make_model(kind)), conditions=["full", "mid"], training=SMALL)), steps=4
    )
    assert set(found.conditions) == {"full", "mid"}
    assert all(each.same_modules for each in found.conditions.values())
    for each in found.conditions.values():
        assert each.max_loss_difference <= 1e-5
        assert each.relative_update_difference <= 1e-3


@pytest.mark.peer
def test_what_trl_cannot_express_is_named_and_not_compared(recipe):
    conditions = {
        "mid": None,
        "joint": {"blocks": ["local", "mid"], "learning_rate": {"local": 1e-3, "mid": 1e-4}},
        "base": None,
    }
    found = verify(parse_recipe(recipe(conditions=conditions, training=SMALL)), steps=2)
    assert list(found.conditions) == ["mid"]
    assert "no learning rate per block" in found.skipped["joint"]
    assert torch.is_grad_enabled()


@pytest.mark.peer
def test_two_trainings_that_hardly_move_are_not_said_to_agree(recipe):
    found = verify(parse_recipe(recipe(conditions=["mid"], training=SMALL)), steps=2, learning_rate=1e-7)
    assert found.conditions["mid"].loss_moved < 5e-3
    assert found.outcome == "moved too little to tell"


def agreement(**changes):
    """Two trainings that are alike and moved."""
    alike = {
        "max_loss_difference": 1e-6,
        "max_log_ratio_difference": 1e-5,
        "relative_update_difference": 1e-6,
        "loss_moved": 0.1,
        "update_norm": 1.0,
        "loss_scale": 1.0,
        "same_modules": True,
        "same_tokens": True,
    }
    return parity.Agreement(**(alike | changes))


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({}, "agrees"),
        ({"max_loss_difference": 2e-5}, "differs"),
        ({"max_log_ratio_difference": 2e-4}, "differs"),
        ({"relative_update_difference": 2e-3}, "differs"),
        ({"same_modules": False}, "differs"),
        ({"same_tokens": False}, "differs"),
        ({"loss_moved": 4e-3}, "moved too little to tell"),
        ({"update_norm": 0.0}, "moved too little to tell"),
        ({"loss_moved": 4e-3, "same_tokens": False}, "differs"),
    ],
)
def test_agreement_is_said_only_of_trainings_that_moved(changes, outcome):
    assert agreement(**changes).outcome == outcome


@pytest.mark.parametrize(
    ("measure", "noise", "difference", "outcome"),
    [  # within and beyond three times the noise, where that is more than the fixed tolerance
        ("max_loss_difference", 1e-4, 2.9e-4, "agrees"),
        ("max_loss_difference", 1e-4, 3.1e-4, "differs"),
        ("max_log_ratio_difference", 2e-4, 5.9e-4, "agrees"),
        ("max_log_ratio_difference", 2e-4, 6.1e-4, "differs"),
        ("relative_update_difference", 5e-3, 1.4e-2, "agrees"),
        ("relative_update_difference", 5e-3, 1.6e-2, "differs"),
        # noise never makes a tolerance smaller than the fixed one
        ("relative_update_difference", 1e-6, 9e-4, "agrees"),
        # 0.05 of the update is the most that is called agreement
        ("relative_update_difference", 0.04, 0.049, "agrees"),
        ("relative_update_difference", 0.04, 0.051, "rounding too large to tell"),
        ("relative_update_difference", 0.04, 0.119, "rounding too large to tell"),
        ("relative_update_difference", 0.04, 0.121, "differs"),
        ("relative_update_difference", math.nan, 2e-3, "differs"),
        ("relative_update_difference", 0.04, math.nan, "differs"),
    ],
)
def test_a_difference_up_to_three_times_what_rounding_changes_is_agreement(
    measure, noise, difference, outcome
):
    changed = {"max_loss_difference": 0.0, "max_log_ratio_difference": 0.0, "relative_update_difference": 0.0}
    found = agreement(**{measure: difference}, noise=parity.Differences(**(changed | {measure: noise})))
    assert found.outcome == outcome
    assert found.to_json()["beyond"] == ([] if outcome == "agrees" else [measure])


def test_rounding_explains_neither_other_modules_nor_other_tokens():
    large = parity.Differences(1.0, 1.0, 1.0)
    for key in ("same_modules", "same_tokens"):
        assert agreement(**{key: False}, noise=large).outcome == "differs"
        assert not agreement(**{key: False}, relative_update_difference=1.0).needs_noise


def test_the_record_holds_the_noise_and_the_tolerances_that_were_used():
    fixed = {
        "max_loss_difference": 2.5e-4,
        "max_log_ratio_difference": 1e-4,
        "relative_update_difference": 1e-3,
    }
    row = agreement(loss_scale=25.0).to_json()
    assert row["noise"] is None
    assert row["tolerances"] == pytest.approx(fixed)
    row = agreement(loss_scale=25.0, noise=parity.Differences(1e-5, 2e-4, 0.04)).to_json()
    assert row["noise"]["max_log_ratio_difference"] == 2e-4
    assert row["tolerances"] == pytest.approx(
        fixed | {"max_log_ratio_difference": 6e-4, "relative_update_difference": 0.05}
    )


def small_verification(recipe, monkeypatch):
    """Two steps against TRL; what precisions ours was trained in, and the outcome of mid."""
    precisions = []
    stock = parity.load_model

    def load(settings, *, dtype, device):
        precisions.append(dtype)
        return stock(settings, dtype=dtype, device=device)

    monkeypatch.setattr(parity, "load_model", load)
    found = verify(parse_recipe(recipe(conditions=["mid"], training=SMALL)), steps=2)
    return precisions, found.conditions["mid"]


@pytest.mark.peer
def test_within_the_fixed_tolerances_ours_is_not_trained_in_float64(recipe, monkeypatch):
    precisions, found = small_verification(recipe, monkeypatch)
    assert precisions == [torch.float32]
    assert found.noise is None


@pytest.mark.peer
def test_beyond_them_rounding_is_measured_and_explains_the_difference(recipe, monkeypatch):
    """With no fixed tolerances every difference of two float32 trainings is beyond them."""
    for name in ("LOSS_TOLERANCE", "LOG_RATIO_TOLERANCE", "UPDATE_TOLERANCE"):
        monkeypatch.setattr(parity, name, 0.0)
    precisions, found = small_verification(recipe, monkeypatch)
    assert precisions == [torch.float32, torch.float64]
    assert 0 < found.noise.relative_update_difference < 1e-3
    assert found.relative_update_difference <= 3 * found.noise.relative_update_difference


@pytest.mark.peer
def test_rounding_does_not_explain_a_learning_rate_off_by_a_hundredth(recipe, monkeypatch):
    stock = runs.rate_factor
    monkeypatch.setattr(runs, "rate_factor", lambda *args: 1.01 * stock(*args))
    precisions, found = small_verification(recipe, monkeypatch)
    assert precisions == [torch.float32, torch.float64]
    assert found.outcome == "differs"
    assert "relative_update_difference" in found.to_json()["beyond"]


def test_the_worst_condition_decides():
    still, apart = agreement(loss_moved=0.0), agreement(same_modules=False)
    found = {name: parity.Parity(12, 1e-3, each, {}).outcome for name, each in {
        "good": {"a": agreement()},
        "still": {"a": agreement(), "b": still},
        "apart": {"a": agreement(), "b": still, "c": apart},
    }.items()}  # fmt: skip
    assert found == {"good": "agrees", "still": "moved too little to tell", "apart": "differs"}


def test_every_seed_is_compared_in_its_own_order(make_model, transcripts, monkeypatch):
    """With `seeds_vary: [order]` the pairs of seed 1 come in another order; both sides get each run's own."""
    recipe = parse_recipe(
        {
            "model": str(make_model("llama", layers=3)),
            "preferences": {"source": str(transcripts), "train": 8, "validation": 0, "held_out": 4},
            "conditions": ["mid"],
            "seeds": [0, 1],
            "seeds_vary": ["order"],
            "training": {**SMALL, "gradient_accumulation": 1},
        }
    )
    given, ours = {}, {}

    def with_trl(planned, run, rows, windows, trees, scratch):
        given[run.id] = [row.row_id for row in rows]

    def with_ours(planned, runs, trees, windows, scratch, dtype):
        ours.update({run.id: [tree.row_id for tree in trees] for run in runs})
        return dict.fromkeys(ours)

    agreement = parity.Agreement(0, 0, 0, 1, 1, 1, same_modules=True, same_tokens=True)
    monkeypatch.setattr(parity, "train_with_trl", with_trl)
    monkeypatch.setattr(parity, "_train_ours", with_ours)
    monkeypatch.setattr(parity, "_compare", lambda *_: agreement)
    found = verify(recipe, steps=4)
    assert list(found.conditions) == ["mid@0", "mid@1"]
    planned = plan(recipe)
    for seed in (0, 1):
        trained = [i for step in planned.steps_of(seed) for micro in step for i in micro.pairs]
        assert given[f"mid@{seed}"] == [planned.parts.train[i].row_id for i in trained]
    assert given["mid@0"] != given["mid@1"]
    assert ours == given
