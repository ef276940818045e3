"""Which pairs a step sees, their weights, and the learning rate: by hand and against transformers."""

import numpy as np
import pytest
import torch
from transformers import get_scheduler

from stratalign.records import keyed_seed
from stratalign.training import TrainingSettings, plan_steps, rate_factor


def test_weights_are_the_mean_over_a_micro_batch_over_the_micro_batches_of_the_step():
    settings = TrainingSettings(batch_size=3, gradient_accumulation=2, epochs=1)
    steps = plan_steps(13, settings, seed=42)
    # 13 pairs make micro-batches of 3, 3, 3, 3, 1 and steps of two, two and one of them
    assert [[len(micro.pairs) for micro in step] for step in steps] == [[3, 3], [3, 3], [1]]
    assert [[micro.weight for micro in step] for step in steps] == [[1 / 6, 1 / 6], [1 / 6, 1 / 6], [1.0]]
    assert sorted(i for step in steps for micro in step for i in micro.pairs) == list(range(13))


def test_epochs_are_shuffled_anew_and_the_order_depends_on_the_seed_alone():
    settings = TrainingSettings(batch_size=4, gradient_accumulation=1, epochs=2)
    first, second = plan_steps(12, settings, 1)[:3], plan_steps(12, settings, 1)[3:]
    assert first != second
    assert plan_steps(12, settings, 1) == plan_steps(12, settings, 1)
    assert plan_steps(12, settings, 1) != plan_steps(12, settings, 2)


def test_an_order_of_its_own_has_a_key_of_its_own_and_0_is_the_order_that_runs_share():
    settings = TrainingSettings(batch_size=12, gradient_accumulation=1, epochs=2)

    def drawn(*key):
        return np.random.default_rng(keyed_seed("order of pairs", *key)).permutation(12).tolist()

    def pairs(**options):
        return [list(step[0].pairs) for step in plan_steps(12, settings, 42, **options)]

    assert pairs() == pairs(order=0) == [drawn(42, 0), drawn(42, 1)]
    assert pairs(order=1) == [drawn(42, 1, 0), drawn(42, 1, 1)]
    orders = [order for own in range(4) for order in pairs(order=own)]
    assert len({tuple(order) for order in orders}) == 8


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
@pytest.mark.parametrize("warmup", [0, 3, 0.25])
def test_learning_rates_are_transformers(schedule, warmup):
    total, warm = 12, 3 if warmup else 0  # a quarter of 12 is 3
    name = "constant_with_warmup" if schedule == "constant" else schedule
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    stock = get_scheduler(name, optimizer, num_warmup_steps=warm, num_training_steps=total)
    for step in range(total):
        assert rate_factor(step, total, schedule, warmup) == pytest.approx(stock.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        stock.step()


def test_rank_alone_keeps_alpha_over_rank():
    settings = TrainingSettings()  # the paper's rank 16 and alpha 32
    assert settings.overridden({"rank": 4}).alpha == 8
    assert settings.overridden({"rank": 4, "alpha": 32}).alpha == 32


def test_defaults_are_the_papers_table_5():
    found = TrainingSettings().model_dump()
    table = {
        "learning_rate": 1e-5,
        "weight_decay": 0.01,
        "betas": (0.9, 0.999),
        "batch_size": 6,
        "gradient_accumulation": 4,
        "epochs": 1,
        "beta": 0.1,
        "rank": 16,
        "alpha": 32,
        "targets": ["q_proj", "k_proj", "v_proj", "o_proj"],
        "max_length": 2048,
    }
    assert {key: found[key] for key in table} == table
