"""Options that all benchmarks share, and what follows from them: pairs, shape, device and clock."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from benchmarks.material import VARIABLE, read_material
from benchmarks.measuring import Clock
from benchmarks.shapes import NAMED, SMALL_KINDS, named_shape, small_shape
from benchmarks.sides import Bench
from stratalign.training import TrainingSettings

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
SKIPPED = f"Skipped: the benchmark needs a file of preference pairs. Give --pairs FILE, or set the variable {VARIABLE}."


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """The options that decide about pairs, model and device."""
    parser.add_argument("--pairs", help=f"file of preference pairs; default: the variable {VARIABLE}")
    parser.add_argument("--seed", type=int, default=0, help="draws the windows")
    parser.add_argument("--accumulation", type=int, default=4, help="micro-batches of 6 pairs in a window")
    parser.add_argument("--kind", default="llama", choices=SMALL_KINDS)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--heads", type=int, help="default: heads of 64")
    parser.add_argument("--vocabulary", type=int, default=8192, help="of the tokenizer trained on the pairs")
    parser.add_argument(
        "--shape", choices=list(NAMED), help="a large model's shape, instead of the four above"
    )
    parser.add_argument("--dry-run", action="store_true", help="--shape shrunk, to try it on a CPU")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=list(DTYPES), help="default: bfloat16 with --shape, else float32")
    parser.add_argument("--checkpointing", action="store_true", help="ours recomputes activations, too")


def make_bench(options: argparse.Namespace, source: Path, windows: int, out: Path) -> Bench:
    """Pairs, model's shape, device and clock from the options; torch is set to one thread on a CPU.

    Raises:
        UserError: the pairs cannot be read.
    """
    device = torch.device(options.device)
    if device.type == "cpu":
        torch.set_num_threads(1)
    settings = TrainingSettings(
        gradient_accumulation=options.accumulation, checkpointing=options.checkpointing
    )
    material = read_material(source, settings, windows, options.seed, options.vocabulary, out)
    words = len(material.tokenizer)
    if options.shape:
        shape = named_shape(options.shape, shrunk=options.dry_run, vocabulary=words)
    else:
        shape = small_shape(options.kind, options.layers, options.width, options.heads, words)
    dtype = DTYPES[options.dtype or ("bfloat16" if options.shape else "float32")]
    warmup = 1 if device.type == "cuda" else 0
    return Bench(shape, settings, material, device, dtype, Clock(device), warmup, out / "scratch")
