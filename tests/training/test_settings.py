"""Settings of losses: which go together, and that what a loss would ignore is refused."""

from dataclasses import replace

import pytest
from joint_setups import SETTINGS, make_runs, make_trees, train_jointly
from pydantic import ValidationError

from stratalign.errors import UserError
from stratalign.losses import LOSSES, Objective
from stratalign.recipe import parse_recipe
from stratalign.records import read_jsonl
from stratalign.training import LOSS_KEYS, TrainingSettings

OTHER = {"beta": 0.3, "label_smoothing": 0.1, "simpo_gamma": 1.0, "nll": 0.5}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("key", LOSS_KEYS)
def test_a_setting_reaches_the_losses_that_read_it_and_is_refused_for_the_others(loss, key):
    if key in LOSSES[loss].reads:
        settings = TrainingSettings(loss=loss, **{key: OTHER[key]})
        assert settings.objective == Objective(loss, **{key: OTHER[key]})
    else:
        with pytest.raises(
            ValidationError, match=f"the loss {loss} does not use {key}, got .*set it back with {key}"
        ):
            TrainingSettings(loss=loss, **{key: OTHER[key]})


def test_the_defaults_are_dpo_and_written_out_they_fit_every_loss():
    assert TrainingSettings().objective == Objective()
    for loss in LOSSES:
        assert TrainingSettings.model_validate(TrainingSettings().model_dump() | {"loss": loss}).loss == loss


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"loss": "dpoo"}, "unknown loss 'dpoo'; known: sigmoid, robust, ipo"),
        ({"loss": "robust", "label_smoothing": 0.5}, "label_smoothing: Input should be less than 0.5"),
        ({"label_smoothing": -0.1}, "label_smoothing: Input should be greater than or equal to 0"),
        ({"nll": float("inf")}, "nll must be a finite number, got inf"),
        ({"loss": "simpo", "simpo_gamma": -1}, "simpo_gamma: Input should be greater than or equal to 0"),
    ],
)  # fmt: skip
def test_values_that_make_no_sense_are_named(recipe, wrong, message):
    with pytest.raises(UserError, match=message):
        parse_recipe(recipe(training=wrong))


def test_a_condition_overrides_the_loss_and_its_settings(recipe):
    conditions = {
        "dpo": {"block": "mid"},
        "swept": {"block": "mid", "loss": ["ipo", "hinge"], "label_smoothing": 0},
        "simple": {"block": "mid", "loss": "simpo", "label_smoothing": 0, "beta": 2, "simpo_gamma": 1.0},
    }
    parsed = parse_recipe(recipe(conditions=conditions, training={"label_smoothing": 0.1}))
    found = {spec.name: parsed.settings_of(spec).objective for spec in parsed.specs()}
    assert found == {
        "dpo": Objective(label_smoothing=0.1),
        "swept-ipo": Objective("ipo"),
        "swept-hinge": Objective("hinge"),
        "simple": Objective("simpo", beta=2.0, simpo_gamma=1.0),
    }
    inherits = parse_recipe(
        recipe(conditions={"ipo": {"block": "mid", "loss": "ipo"}}, training={"label_smoothing": 0.1})
    )
    with pytest.raises(
        UserError, match=r"conditions.ipo: the loss ipo does not use label_smoothing, got 0\.1"
    ):
        inherits.settings_of(inherits.specs()[0])


def test_every_loss_falls_step_by_step_beside_the_others(tmp_path):
    """Every step sees the same six pairs, whose two responses differ in length."""
    whole = SETTINGS.model_copy(update={"batch_size": 6, "gradient_accumulation": 1, "epochs": 4})
    conditions = {name: {"block": "full", "loss": name} for name in LOSSES}
    conditions["shuffled"] = {"block": "full", "loss": "simpo", "labels": "shuffled", "nll": 0.5}
    train_jointly(make_runs(conditions), tmp_path, trees=make_trees(6), settings=whole)
    rows = list(read_jsonl(tmp_path / "training.jsonl"))
    for name in conditions:
        losses = [row["loss"] for row in rows if row["run"] == name]
        assert losses == sorted(losses, reverse=True), name
        assert losses[0] > losses[3], name


def test_shuffled_labels_train_as_pairs_exchanged_beforehand_would(tmp_path):
    """IPO takes means over tokens, so the counts must go with the responses."""
    (shuffled,) = make_runs({"ipo": {"block": "full", "loss": "ipo", "labels": "shuffled", "nll": 0.5}})
    (given,) = make_runs({"ipo": {"block": "full", "loss": "ipo", "nll": 0.5}})
    trees = make_trees()
    exchanged = [
        replace(tree, branches=tree.branches[::-1]) if shuffled.swaps(tree.row_id) else tree for tree in trees
    ]
    train_jointly([shuffled], tmp_path / "shuffled", trees=trees)
    train_jointly([given], tmp_path / "exchanged", trees=exchanged)
    ours, by_hand = (
        [row["loss"] for row in read_jsonl(tmp_path / name / "training.jsonl")]
        for name in ("shuffled", "exchanged")
    )
    assert ours == pytest.approx(by_hand, rel=1e-9)
    assert exchanged != trees
