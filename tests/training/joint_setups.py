"""A small joint training set up by hand: three layers' worth of conditions on a random model and made-up trees."""

import random

import torch

from stratalign.blocks import expand_conditions, partition, resolve_condition
from stratalign.engine import JointEngine
from stratalign.models import AdapterBank, AdapterSpec, can_stop, check_packing, find_anatomy, list_sites
from stratalign.preferences import Branch, Tree
from stratalign.training import OVERRIDE_KEYS, Run, TrainingSettings, plan_steps, train
from tiny_models import random_model

SETTINGS = TrainingSettings(
    learning_rate=1e-3,
    batch_size=2,
    gradient_accumulation=2,
    rank=4,
    alpha=8,
    epochs=1,
    checkpoint_every=10**6,
)


def make_trees(count=16, seed=0):
    draw = random.Random(seed)

    def ids(least, most):
        return tuple(draw.randrange(1, 101) for _ in range(draw.randint(least, most)))

    return [
        Tree(f"r{i}", f"c{i}", ids(2, 6), (Branch((*ids(1, 8), 0), 0), Branch((*ids(1, 8), 0), 0)))
        for i in range(count)
    ]


def make_runs(conditions, seed=0, settings=SETTINGS, layers=6, kind="llama"):
    sites = list_sites(random_model(kind, layers, 101))
    runs = []
    for spec in expand_conditions(conditions, OVERRIDE_KEYS):
        own = settings.overridden(spec.overrides)
        condition = resolve_condition(
            spec,
            sites,
            partition(layers),
            learning_rate=own.learning_rate,
            targets=own.targets,
            rank=own.rank,
        )
        runs.append(Run(spec.name, condition, seed, own))
    return runs


def set_up(runs, *, dtype=torch.float64, checkpointing=False, layers=6, kind="llama", packed=True):
    torch.manual_seed(0)
    model = random_model(kind, layers, 101).to(dtype).eval().requires_grad_(False)
    anatomy = find_anatomy(model)
    if packed:
        assert check_packing(model, anatomy)
        anatomy = anatomy._replace(packs=True, stops=can_stop(model, anatomy))
    bank = AdapterBank(model)
    for run in runs:
        s = run.settings
        bank.attach(
            AdapterSpec(run.id, run.condition.modules, run.condition.rank, s.alpha, s.dropout, run.seed)
        )
    firsts = {run.id: run.first_layer(layers) for run in runs}
    return model, bank, JointEngine(anatomy, bank, firsts, checkpointing=checkpointing)


def train_jointly(runs, folder, trees=None, settings=SETTINGS, **options):
    """Train and give back every run's tensors; `folder` gets the log."""
    model, bank, engine = set_up(runs, **options)
    trees = trees or make_trees()
    steps = plan_steps(len(trees), settings, seed=1)
    trained = train(
        engine,
        runs,
        trees,
        steps,
        log=folder / "training.jsonl",
        checkpoint=folder / "checkpoint.safetensors",
    )
    return {run.id: bank.tensors(run.id) for run in runs}, trained, model
