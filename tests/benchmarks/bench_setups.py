"""A benchmark on the shipped transcripts and a model of six small layers."""

from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import cells
from benchmarks.arithmetic import Trained
from benchmarks.beside_trl import parse
from benchmarks.options import make_bench
from benchmarks.sides import make_runs
from tiny_models import TRANSCRIPTS

SMALL = [
    "--pairs",
    str(TRANSCRIPTS),
    "--accumulation",
    "2",
    "--layers",
    "6",
    "--width",
    "64",
    "--vocabulary",
    "300",
]


def small_bench(out: Path, windows: int = 1):
    """The bench, its runs and what they train."""
    options = parse([*SMALL, "--device", "cpu", "--out", str(out)])
    bench = make_bench(options, TRANSCRIPTS, windows, out)
    bench.scratch.mkdir(parents=True)
    runs = {run.id: run for run in make_runs(bench.shape, bench.settings)}
    trained = {name: Trained(run.first_layer(6), len(run.condition.layers)) for name, run in runs.items()}
    return bench, runs, trained


class OperationCounter:
    """A clock that ticks with every matrix product that torch runs; attention's kernel on a CPU is not counted."""

    device = torch.device("cpu")

    def __init__(self):
        self.mode = FlopCounterMode(display=False, custom_mapping={torch.ops.aten.addmm_: _in_place})

    def now(self):
        return float(self.mode.get_total_flops())


def _in_place(_sum, left, right, *_args, out_shape=None, **_kwargs):
    """Operations of `addmm_`, which torch does not count, from the shapes of its factors."""
    return 2 * left[0] * left[1] * right[1]


def without_attention(monkeypatch):
    stock = cells.load_of
    monkeypatch.setattr(cells, "load_of", lambda *given: stock(*given)._replace(scores=0, label_scores=0))
