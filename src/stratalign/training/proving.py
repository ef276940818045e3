"""The proof: that what lies on disk is what was trained, on exactly the resolved modules, and nothing else.

Three parts. While training, the witness saw gradients and steps. After, the files are compared with what was
resolved. At last the base is loaded anew with transformers and PEFT alone, the saved adapter put on it, and the
held-out log-probabilities recorded by our engine must come out again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn

from stratalign.engine import Batch, collate, cut_by_tokens, padded_size
from stratalign.models import ModelSettings, base_files, hushed, load_stock, load_tensors, module_names
from stratalign.preferences import Tree
from stratalign.records import LogProbRecord, file_digest
from stratalign.training.witness import Witness

PROBE_PAIRS = 32
"""How many held-out rows the reloaded model must reproduce."""


@dataclass(frozen=True)
class Check:
    """One statement of a proof: whether it holds, and the numbers behind it."""

    holds: bool
    detail: str


@dataclass(frozen=True)
class Proof:
    """Every check of one run; proven when all hold."""

    checks: Mapping[str, Check]

    @property
    def proven(self) -> bool:
        return all(check.holds for check in self.checks.values())

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
    *,
    dtype: torch.dtype,
    device: torch.device,
) -> dict[str, Check]:
    """Reload base and adapters with stock transformers and PEFT; run -> whether the records come out again.

    Args:
        adapters: run -> its folder; None for a run that is the base itself.
        trees: held-out pairs or demonstrations, of which the first `PROBE_PAIRS` are used.
        recorded: run -> records in the order of `trees`.
    """
    model: nn.Module = load_stock(settings, dtype=dtype, device=device)
    model.eval()
    probe = trees[:PROBE_PAIRS]
    checks: dict[str, Check] = {}
    wrapped: PeftModel | None = None
    for run, folder in adapters.items():
        own = model
        if folder is not None:
            with hushed():
                if wrapped is None:
                    wrapped = PeftModel.from_pretrained(model, str(folder), adapter_name="proof")
                else:
                    wrapped.load_adapter(str(folder), adapter_name="proof")
            wrapped.set_adapter("proof", inference_mode=True)
            own = wrapped
        checks[run] = _compare(
            _stock_log_probabilities(own, probe, device), recorded[run][: len(probe)], dtype
        )
        if wrapped is not None and folder is not None:
            wrapped.delete_adapter("proof")
    return checks


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


def _compare(stock: Tensor, records: Sequence[LogProbRecord], dtype: torch.dtype) -> Check:
    recorded = _rows([(record.chosen, record.rejected) for record in records])
    base = _rows([(record.base_chosen, record.base_rejected) for record in records])
    absolute, relative = {torch.float64: (1e-9, 1e-11), torch.float32: (1e-4, 2e-6)}.get(dtype, (0.1, 1e-2))
    difference = (stock - recorded).abs()
    allowed = absolute + relative * recorded.abs()
    effect = (recorded - base).abs().max().item()
    return Check(
        bool((difference <= allowed).all()),
        f"{len(records)} rows within {difference.max().item():.0e} nats (allowed {allowed.min().item():.0e}); "
        f"the adapter moves them by up to {effect:.2g}",
    )


def _rows(values: Sequence[tuple[float, float | None]]) -> Tensor:
    """[records, branches]: without a column for rejected where the records are of demonstrations."""
    return torch.tensor(
        [[value for value in row if value is not None] for row in values], dtype=torch.float64
    )
