"""The proof: that what lies on disk is what was trained, on exactly the resolved modules, and nothing else.

Three parts. While training, the witness saw gradients and steps. After, the files are compared with what was
resolved. At last the base is loaded anew with transformers and PEFT alone, the saved adapter put on it, and the
held-out log-probabilities recorded by our engine must come out again: nearer to the run's own records than to those of
the base and of every other run. Where a precision's rounding hides the difference, the proof says that it cannot tell.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stratalign.engine import Batch, collate, cut_by_tokens, padded_size
from stratalign.errors import UserError
from stratalign.models import ModelSettings, base_files, load_stock, load_tensors, module_names, with_adapter
from stratalign.preferences import Tree
from stratalign.records import LogProbRecord, file_digest
from stratalign.training.witness import Witness

PROBE_PAIRS = 32
"""How many held-out rows the reloaded model must reproduce."""

NEARER = 4
"""How many times nearer a reloaded adapter must be to its own records than to any others. Where an adapter is loaded in
place of another, the ratio is the inverse: between 4 and 1/4 lies what is not decided."""

FAR = 8
"""More than this many times the noise of the base is no rounding: adapters add products of their own, but few."""

EXACT: dict[torch.dtype, tuple[float, float]] = {torch.float64: (1e-9, 1e-11), torch.float32: (1e-4, 2e-6)}
"""Precisions in which every row must come out: allowed difference in nats, and as a share of the log-probability."""

COARSE = (0.1, 1e-2)
"""The same for all others. It excludes little; `NEARER` is what decides there."""


@dataclass(frozen=True)
class Check:
    """One statement of a proof: whether it holds (None: it cannot be told), and the numbers behind it."""

    holds: bool | None
    detail: str


@dataclass(frozen=True)
class Proof:
    """Every check of one run; proven when all hold."""

    checks: Mapping[str, Check]

    @property
    def proven(self) -> bool:
        return all(check.holds is True for check in self.checks.values())

    def to_json(self) -> dict[str, Any]:
        return {"proven": self.proven, "checks": {name: asdict(check) for name, check in self.checks.items()}}


def witnessed(witness: Witness, run: str, tensors: int) -> dict[str, Check]:
    """What was seen while training; anything else that moved would have stopped the study."""
    unseen = witness.unseen(run)
    return {
        "gradient_seen": Check(
            not unseen,
            f"{tensors - len(unseen)} of {tensors} tensors had a nonzero gradient"
            + (f"; not {', '.join(unseen[:3])}" if unseen else ""),
        ),
        "no_other_gradient": Check(True, "in every backward pass"),
        "no_other_change": Check(True, "in every optimizer step"),
    }


def saved(folder: Path, modules: Sequence[str], digest: str) -> dict[str, Check]:
    """What lies in the adapter's folder, against the modules that were resolved and the bytes that were written."""
    names = module_names(load_tensors(folder))
    wrong = sorted(set(names) ^ set(modules))
    found = file_digest(folder / "adapter_model.safetensors")
    return {
        "saved_keys": Check(
            not wrong,
            f"{len(names)} modules, the resolved ones" if not wrong else f"differ: {wrong[:3]}",
        ),
        "saved_bytes": Check(
            found == digest,
            f"SHA-256 {found[:8]}, as when training ended"
            if found == digest
            else f"{found[:8]}, was {digest[:8]}",
        ),
    }


def base_unchanged(settings: ModelSettings, before: Mapping[str, str]) -> Check:
    """The base's files, hashed again."""
    after = base_files(settings)
    changed = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    return Check(
        not changed, f"{len(after)} files hash as before" if not changed else f"changed: {', '.join(changed)}"
    )


def reload_and_compare(
    settings: ModelSettings,
    adapters: Mapping[str, Path | None],
    trees: Sequence[Tree],
    recorded: Mapping[str, Sequence[LogProbRecord]],
    rivals: Mapping[str, Collection[str]],
    *,
    dtype: torch.dtype,
    device: torch.device,
) -> dict[str, Check]:
    """Reload base and adapters with stock transformers and PEFT; run -> whether its records come out again.

    Args:
        adapters: run -> its folder; None for a run that is the base itself.
        trees: held-out pairs or demonstrations, of which the first `PROBE_PAIRS` are used.
        recorded: run -> records in the order of `trees`, also of runs that are not reloaded.
        rivals: for every run that trained, the others that it must be told from, as well as from the base.
    """
    model = load_stock(settings, dtype=dtype, device=device)
    model.eval()
    probe = trees[:PROBE_PAIRS]
    records = {run: rows[: len(probe)] for run, rows in recorded.items()}
    values = {run: _rows([(row.chosen, row.rejected) for row in rows]) for run, rows in records.items()}
    as_base = _stock_log_probabilities(model, probe, device)
    checks: dict[str, Check] = {}
    adapted: Any = model
    for run, folder in adapters.items():
        base = _rows([(row.base_chosen, row.base_rejected) for row in records[run]])
        noise = max(_distance(as_base, base), _rounding(probe, dtype))
        others = {"base": base} | {other: values[other] for other in rivals[run]} if run in rivals else {}
        if folder is None:
            checks[run] = compare(as_base, values[run], others, noise, dtype)
            continue
        try:
            adapted = with_adapter(adapted, folder, settings.base, "proof")
        except UserError as error:
            checks[run] = Check(False, str(error))
            continue
        adapted.set_adapter("proof", inference_mode=True)
        stock = _stock_log_probabilities(adapted, probe, device)
        checks[run] = compare(stock, values[run], others, noise, dtype)
        adapted.delete_adapter("proof")
    return checks


def compare(
    stock: Tensor, own: Tensor, others: Mapping[str, Tensor], noise: float, dtype: torch.dtype
) -> Check:
    """Whether reloaded log-probabilities are those that were recorded: near them, and `NEARER` times nearer than to the
    records of the base and of other runs.

    A correct adapter is as far from its own records as rounding makes it, and from others by what they differ in. Where
    that is not `NEARER` times as much, the numbers cannot say which adapter was loaded. It has failed, however, if it
    is further away than rounding explains. In the precisions of `EXACT`, runs whose own records are these up to the
    allowed difference are left out: whichever was loaded, the numbers are the same.

    Args:
        stock: what the reloaded model gives [rows, branches], nats.
        own: what was recorded under this run.
        others: what was recorded under the base and other runs.
        noise: how far a base without an adapter comes out from its own records, root mean square.
        dtype: of the model.
    """
    absolute, relative = EXACT.get(dtype, COARSE)
    allowed = absolute + relative * own.abs()
    difference = (stock - own).abs()
    distance = _distance(stock, own)
    apart = {name: _distance(stock, values) for name, values in others.items()}
    detail = f"{len(own)} rows within {difference.max().item():.0e} nats (allowed {allowed.min().item():.0e})"
    if not bool((difference <= allowed).all()):
        return Check(False, detail.replace(" within ", " differ by up to "))
    alike = []
    if dtype in EXACT:
        alike = [
            name
            for name, values in others.items()
            if name != "base" and bool(((values - own).abs() <= allowed).all())
        ]
    if alike:
        detail += f"; not compared with {', '.join(alike)}, whose records are the same up to rounding"
        apart = {name: far for name, far in apart.items() if name not in alike}
    if not apart:
        return Check(True, detail)
    nearest = min(apart, key=lambda name: apart[name])
    detail += f"; RMS distance {distance:.1e} to its own records, {apart[nearest]:.1e} to those of {nearest}, the next"
    if distance <= apart[nearest] / NEARER:
        return Check(True, detail)
    explained = max(FAR * noise, float(allowed.square().mean().sqrt()) if dtype in EXACT else 0.0)
    if distance > explained:
        return Check(False, f"{detail}; rounding explains {explained:.1e}")
    precision = str(dtype).removeprefix("torch.")
    return Check(None, f"cannot be told in {precision}: {detail}; a factor of {NEARER} is needed")


@torch.no_grad()
def _stock_log_probabilities(model: nn.Module, trees: Sequence[Tree], device: torch.device) -> Tensor:
    """[trees, branches] in nats, through the model's own forward pass on padded rows, some of like length at a time."""
    branches = len(trees[0].branches)
    found = torch.zeros(len(trees), branches, dtype=torch.float64)
    budget = PROBE_PAIRS // 2 * max((padded_size(tree) for tree in trees), default=0)
    for part in cut_by_tokens(trees, budget, packed=False):
        batch: Batch = collate([trees[i] for i in part], device)
        logits = model(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False).logits
        logits = logits[batch.rows, batch.positions]
        logits = logits if logits.dtype == torch.float64 else logits.float()
        taken = logits.log_softmax(-1).gather(1, batch.labels[:, None])[:, 0].double()
        # summed here by row, not by what the engine sums with
        sums = torch.stack([taken[batch.rows == row].sum() for row in range(branches * len(part))])
        found[part] = sums.reshape(-1, branches).cpu()
    return found


def _distance(one: Tensor, other: Tensor) -> float:
    """Root mean square of the differences, nats."""
    return float((one - other).square().mean().sqrt())


def _rounding(trees: Sequence[Tree], dtype: torch.dtype) -> float:
    """What rounding alone does to a sum of log-probabilities at least: one unit in the last place of each token's, in
    random directions."""
    tokens = [len(branch.ids) - branch.first_label for tree in trees for branch in tree.branches]
    return float(torch.finfo(dtype).eps) * math.sqrt(sum(tokens) / len(tokens))


def _rows(values: Sequence[tuple[float, float | None]]) -> Tensor:
    """[records, branches]: without a column for rejected where the records are of demonstrations."""
    return torch.tensor(
        [[value for value in row if value is not None] for row in values], dtype=torch.float64
    )
