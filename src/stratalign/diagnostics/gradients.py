"""Gradients: where the gradient of each loss lies, by module, layer and block, and how surely (Hypothesis 2).

The gradient is that of the effective weights, on training pairs, at the model as it is: the base, or a run of a study.
Beside every preference loss stands plain likelihood of the chosen responses, on the same pairs: what both show
says nothing about preferences. Knows nothing of recipes, folders or other objectives.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from stratalign.blocks import Site
from stratalign.diagnostics.chunks import cut_chunks
from stratalign.diagnostics.concentration import (
    Estimate,
    Floats,
    cosines,
    evenness,
    gini,
    jackknife,
    much_greater,
    pair_norms,
    shares,
    squared_norms,
)
from stratalign.diagnostics.naming import name_layers_by_gradients
from stratalign.diagnostics.sketches import ChunkGradients
from stratalign.engine import JointEngine
from stratalign.losses import Objective, preference_loss
from stratalign.models import tapped, weight_norm
from stratalign.preferences import Tree
from stratalign.records import Progress, silent

BASELINE = "sft"
"""The loss that stands beside every other one."""

References = dict[tuple[int, int], torch.Tensor]
"""The base's log-probabilities [items, branches] by (chunk, batch within the chunk)."""


class GradientSettings(BaseModel):
    """What `diagnose gradients` reads; all are ours."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pairs: int = Field(256, ge=8, description="training pairs, drawn by cluster (ours)")
    chunks: int = Field(16, ge=4, description="parts of the pairs that intervals are taken over (ours)")
    ratio: float = Field(
        2.0, gt=1, description="a block's gradient is much greater than another's from this ratio on (ours)"
    )
    against: list[str] = Field(
        [],
        description="other preference sources to measure beside the recipe's own, as in preferences.source",
    )
    run: str | None = Field(
        None, description="a trained run of the study's folder to measure; null: the base"
    )
    adapter: str | None = Field(None, description="a PEFT adapter folder to measure in place of a run")
    stages: bool = Field(
        False, description="measure before, during and after the training that `diagnose significance` keeps"
    )


@dataclass(frozen=True)
class Gathered:
    """The gradients of one preference source: each loss on each chunk, by module."""

    chunks: Sequence[Sequence[Tree]]
    losses: Mapping[str, Objective]
    kept: Mapping[str, ChunkGradients]

    @property
    def sizes(self) -> Floats:
        """Pairs in each chunk [C]."""
        return np.array([len(chunk) for chunk in self.chunks], dtype=np.float64)

    def products(self, module: str, loss: str, other: Gathered, other_loss: str) -> Floats:
        """Inner products [C, C] of the chunks' summed gradients of one loss with those of another source's."""
        slots, others = self._slots(loss), other._slots(other_loss)
        found: Floats = self.kept[module].gram(slots, other.kept[module], others).numpy()
        return found

    def table(
        self,
        loss: str,
        sites: Sequence[Site],
        blocks: Mapping[str, Sequence[int]],
        weights: Mapping[str, float],
    ) -> LossTable:
        """The products of one loss's chunks, by module; `weights` are the modules' norms."""
        grams = np.stack([self.products(site.name, loss, self, loss) for site in sites])
        return LossTable(sites, blocks, grams, self.sizes, weights)

    def _slots(self, loss: str) -> slice:
        first = list(self.losses).index(loss) * len(self.chunks)
        return slice(first, first + len(self.chunks))


def measure_gradients(
    engine: JointEngine,
    run: str,
    sites: Sequence[Site],
    blocks: Mapping[str, Sequence[int]],
    sources: Mapping[str, Sequence[Tree]],
    objective: Objective,
    settings: GradientSettings,
    *,
    seed: int,
    progress: Progress = silent,
) -> dict[str, Any]:
    """The gradients of every preference source, and the cosines between them, as plain numbers for a record.

    Args:
        engine: with the run attached and its replay starting at layer 0, so that every module is reached.
        run: base, or a run with an adapter.
        sites: the linear modules to measure.
        blocks: of the partition, name -> layers.
        sources: training pairs, or demonstrations, of which only `sft` can be measured; by source.
        objective: the preference loss.
        seed: draws the pairs and chunks.
    """
    gathered: dict[str, Gathered] = {}
    with engine.active(run, frozenset()):
        weights = {site.name: weight_norm(engine.model, site.name) for site in sites}
        for source, trees in sources.items():
            chunks = cut_chunks(trees, settings.pairs, settings.chunks, seed)
            losses = losses_of(trees, objective)
            kept = chunk_gradients(engine, run, sites, chunks, losses, progress)
            gathered[source] = Gathered(chunks, losses, kept)
    return {
        "sources": {
            source: _describe(own, sites, blocks, weights, settings.ratio) for source, own in gathered.items()
        },
        "cosines": _cosines(gathered, sites, blocks),
    }


def losses_of(trees: Sequence[Tree], objective: Objective) -> dict[str, Objective]:
    """The losses to measure on these rows: the preference loss if they are pairs, and plain likelihood beside it."""
    losses = {BASELINE: Objective(BASELINE)}
    if len(trees[0].branches) > 1 and objective.loss != BASELINE:
        losses = {objective.loss: objective} | losses
    return losses


def _describe(
    own: Gathered,
    sites: Sequence[Site],
    blocks: Mapping[str, Sequence[int]],
    weights: Mapping[str, float],
    ratio: float,
) -> dict[str, Any]:
    tables = {loss: own.table(loss, sites, blocks, weights) for loss in own.losses}
    baseline = tables[BASELINE]
    return {
        "pairs": int(own.sizes.sum()),
        "clusters": len({tree.cluster for chunk in own.chunks for tree in chunk}),
        "chunks": len(own.chunks),
        "losses": {
            loss: table.describe(ratio, None if table is baseline else baseline)
            for loss, table in tables.items()
        },
    }


def _cosines(
    gathered: Mapping[str, Gathered], sites: Sequence[Site], blocks: Mapping[str, Sequence[int]]
) -> list[dict[str, Any]]:
    """Cosines between the losses of one source, and between sources of one loss: over all modules, and by block.

    Chunks are left out together, the n-th of both: where clusters have the same names in both sources, these are the
    same people. With fewer chunks in one source, the other's last ones are not used.
    """
    places = {"all": [True] * len(sites)} | {
        name: [site.layer in layers for site in sites] for name, layers in blocks.items()
    }
    rows = np.array(list(places.values()), dtype=np.float64)
    found = []
    every = [(source, loss) for source, own in gathered.items() for loss in own.losses]
    for (source, loss), (other_source, other_loss) in combinations(every, 2):
        if source != other_source and loss != other_loss:
            continue
        one, two = gathered[source], gathered[other_source]
        count = min(len(one.chunks), len(two.chunks))
        pairs = ((one, loss, one, loss), (one, loss, two, other_loss), (two, other_loss, two, other_loss))
        grams = np.stack(
            [
                np.stack([a.products(site.name, of, b, and_of)[:count, :count] for site in sites])
                for a, of, b, and_of in pairs
            ]
        )
        sizes = np.stack([one.sizes[:count], two.sizes[:count]], axis=1)
        estimates = jackknife(np.einsum("rm,kmij->krij", rows, grams), sizes, cosines)
        by_place = dict(zip(places, (asdict(_within_one(e)) for e in estimates), strict=True))
        found.append(
            {
                "of": {"source": source, "loss": loss},
                "and": {"source": other_source, "loss": other_loss},
                "all": by_place.pop("all"),
                "blocks": by_place,
            }
        )
    return found


def _within_one(cosine: Estimate) -> Estimate:
    """A cosine and its interval, held to what cosines can be."""
    value, low, high = (max(-1.0, min(1.0, x)) for x in (cosine.value, cosine.low, cosine.high))
    return Estimate(cosine.value if math.isnan(cosine.value) else value, cosine.standard_error, low, high)


def gradient_signals(measured: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """What selectors may choose by: module -> a number, for the first loss of a source that was measured.

    `relative` is the gradient's norm over the weight's (Auto-RGN: Lee et al. 2023, arXiv:2210.11466, section 4).
    """
    first = next(iter(measured["losses"].values()))
    keys = ("relative", "per_root_parameter", "norm")
    return {key: {row["module"]: float(row[key] or 0.0) for row in first["modules"]} for key in keys}


def chunk_gradients(
    engine: JointEngine,
    run: str,
    sites: Sequence[Site],
    chunks: Sequence[Sequence[Tree]],
    losses: Mapping[str, Objective],
    progress: Progress,
    references: References | None = None,
) -> dict[str, ChunkGradients]:
    """Module -> the chunks' summed gradients, a slot for each loss and chunk, loss by loss.

    One base pass and one forward pass serve all losses of a batch. `references` found in one call are given to the
    next on the same chunks, whose base passes then end at once.
    """
    references = {} if references is None else references
    kept = {
        site.name: ChunkGradients(site.name, *_features(site), len(losses) * len(chunks)) for site in sites
    }
    slot = 0

    def receive(name: str, inputs: torch.Tensor, slopes: torch.Tensor) -> None:
        kept[name].add(slot, inputs, slopes)

    on_base = not engine.bank.specs[run].modules
    with tapped(engine.model, kept, receive):
        for number, chunk in enumerate(chunks):
            for at, part in enumerate(engine.cut(chunk)):
                batch = engine.collate([chunk[i] for i in part])
                # of the base itself the reference is its own policy, so that the base pass can end at once
                unknown = torch.zeros(len(part), batch.branches, dtype=torch.float64)
                known = references.get((number, at), unknown if on_base else None)
                passed = engine.base(batch, known)
                passed.captured.hidden[0].requires_grad_()
                with engine.active(run, frozenset()):
                    policy = engine.forward(batch, run, passed)
                    reference = references[number, at] = policy.detach() if on_base else passed.reference
                    for place, objective in enumerate(losses.values()):
                        slot = place * len(chunks) + number
                        loss = preference_loss(policy, reference, batch.lengths(), objective).loss.sum()
                        torch.autograd.backward(loss, retain_graph=place + 1 < len(losses))
                        passed.captured.hidden[0].grad = None
            progress("gradients", number + 1, len(chunks))
    for own in kept.values():
        own.to_cpu()
    return kept


class LossTable:
    """One loss: chunk products of every module, summed over whatever is asked for."""

    def __init__(
        self,
        sites: Sequence[Site],
        blocks: Mapping[str, Sequence[int]],
        grams: Floats,
        sizes: Floats,
        weights: Mapping[str, float],
    ) -> None:
        self.sites = sites
        self.blocks = {name: list(layers) for name, layers in blocks.items()}
        self.grams = grams  # [modules, C, C]
        self.sizes = sizes
        self.parameters = np.array([math.prod(_features(site)) for site in sites], dtype=np.float64)
        self.weights = np.array([weights[site.name] for site in sites])

    def describe(self, ratio: float, baseline: LossTable | None) -> dict[str, Any]:
        """Everything about the loss that the record holds."""
        layers = sorted({site.layer for site in self.sites})
        of_layers = [[site.layer == layer for site in self.sites] for layer in layers]
        everything = [[True] * len(self.sites)]
        modules = np.eye(len(self.sites), dtype=bool)
        named = {} if baseline is None else {"named": self._named(layers, np.array(of_layers), baseline)}
        return {
            **named,
            "all": self._rows(np.array(everything))[0],
            "blocks": self._blocks(ratio, baseline),
            "layers": [
                {"layer": layer} | row
                for layer, row in zip(layers, self._rows(np.array(of_layers), baseline), strict=True)
            ],
            "evenness": {
                "over_layers": self._spread(np.array(of_layers), evenness),
                "over_blocks": self._spread(self._block_rows(), evenness),
            },
            "gini": {
                "over_layers": self._spread(np.array(of_layers), gini),
                "over_blocks": self._spread(self._block_rows(), gini),
            },
            "modules": [
                {"module": site.name, "layer": site.layer, "kind": site.kind} | row
                for site, row in zip(self.sites, self._rows(modules), strict=True)
            ],
        }

    def changes(self, before: LossTable) -> dict[str, dict[str, Any]]:
        """Each block's share over what it was in another table of the same chunks, with a reading."""
        estimates = self._over(before, self._block_rows())
        return {
            name: _ratio(estimate) | {"reading": _reading(estimate)}
            for name, estimate in zip(self.blocks, estimates, strict=True)
        }

    def _named(self, layers: Sequence[int], rows: Any, baseline: LossTable) -> dict[str, Any] | None:
        """What each signal names among the layers; None where there is only one."""
        if len(layers) < 2:
            return None
        return name_layers_by_gradients(
            self._summed(rows),
            self.sizes,
            layers,
            np.sqrt(rows @ self.weights**2),
            rows @ self.parameters,
            baseline._summed(rows),
        )

    def _summed(self, rows: Any) -> Floats:
        """Chunk products [rows, C, C] of groups of modules, given as rows of a matrix of truth values."""
        found: Floats = np.einsum("rm,mij->rij", rows.astype(np.float64), self.grams)
        return found

    def _block_rows(self) -> Any:
        return np.array(
            [[site.layer in layers for site in self.sites] for layers in self.blocks.values()], dtype=bool
        )

    def _rows(self, rows: Any, baseline: LossTable | None = None) -> list[dict[str, Any]]:
        """A description of each group of modules."""
        grams = self._summed(rows)
        parameters = rows @ self.parameters
        weights = np.sqrt(rows @ self.weights**2)
        lengths = jackknife(grams, self.sizes, squared_norms)
        parts = jackknife(grams, self.sizes, _shares)
        single = pair_norms(grams, self.sizes)
        naive = np.sqrt(grams.sum(axis=(1, 2))) / self.sizes.sum()
        found: list[dict[str, Any]] = [
            {
                "parameters": int(count),
                "norm": _root(length.value),
                "low": _root(length.low),
                "high": _root(length.high),
                "naive_norm": float(biased),
                "per_root_parameter": _root(length.value) / math.sqrt(count),
                "relative": _root(length.value) / weight if weight else None,
                "pair_norm": float(of_pair),
                "share": asdict(part),
            }
            for count, length, biased, weight, of_pair, part in zip(
                parameters, lengths, naive, weights, single, parts, strict=True
            )
        ]
        if baseline is not None:
            for row, estimate in zip(found, self._over(baseline, rows), strict=True):
                row["share_over_baseline"] = _ratio(estimate) | {"reading": _reading(estimate)}
        return found

    def _blocks(self, ratio: float, baseline: LossTable | None) -> dict[str, Any]:
        """Every block; and the verdict on the mean gradient, which training follows, and on that of single pairs."""
        described = self._rows(self._block_rows(), baseline)
        return {
            "by_name": dict(zip(self.blocks, described, strict=True)),
            "mean_gradient": self._verdict(ratio, squared_norms),
            "single_pairs": self._verdict(ratio, _squared_pair_norms),
        }

    def _verdict(self, ratio: float, lengths_of: Callable[[Floats, Floats], Floats]) -> dict[str, Any]:
        """Whether the largest block's gradient is much greater than every other's, tested pair by pair.

        Per root parameter, so that a block's size does not count; Hypothesis 2 has blocks of equal size. It needs
        every one of the ratios to be large, so testing several makes it no easier.
        """
        rows, names = self._block_rows(), list(self.blocks)
        parameters = rows @ self.parameters
        top = int(np.argmax(lengths_of(self._summed(rows), self.sizes) / parameters))
        over: dict[str, Any] = {}
        for other, name in enumerate(names):
            if other == top:
                continue
            both = [top, other]

            def statistic(grams: Floats, sizes: Floats, both: list[int] = both) -> Floats:
                lengths = lengths_of(grams, sizes) / parameters[both]
                return np.atleast_1d(0.5 * (np.log(lengths[0]) - np.log(lengths[1])))

            estimate = jackknife(self._summed(rows[both]), self.sizes, statistic)[0]
            over[name] = _ratio(estimate) | {"verdict": much_greater(estimate, ratio)}
        verdicts = [one["verdict"] for one in over.values()]
        worst = next((v for v in ("not much greater", "cannot tell") if v in verdicts), "much greater")
        return {"largest": names[top], "over": over, "verdict": worst if over else "cannot tell"}

    def _over(self, baseline: LossTable, rows: Any) -> list[Estimate]:
        """The logarithm of each group's share over its share in the baseline, on the same chunks."""

        def statistic(grams: Floats, sizes: Floats) -> Floats:
            own, other = (shares(squared_norms(part, sizes)) for part in grams)
            return np.log(own) - np.log(other)

        both = np.stack([self._summed(rows), baseline._summed(rows)])
        return jackknife(both, self.sizes, statistic)

    def _spread(self, rows: Any, measure: Any) -> dict[str, float]:
        statistic = partial(_of_shares, measure)
        return asdict(jackknife(self._summed(rows), self.sizes, statistic)[0])


def _shares(grams: Floats, sizes: Floats) -> Floats:
    return shares(squared_norms(grams, sizes))


def _squared_pair_norms(grams: Floats, sizes: Floats) -> Floats:
    found: Floats = pair_norms(grams, sizes) ** 2
    return found


def _of_shares(measure: Any, grams: Floats, sizes: Floats) -> Floats:
    return np.atleast_1d(measure(_shares(grams, sizes)))


def _features(site: Site) -> tuple[int, int]:
    return site.out_features, site.in_features


def _root(value: float) -> float:
    """A norm from an estimate of its square, which may be negative: then nothing is seen above the noise."""
    return math.sqrt(max(0.0, value))


def _ratio(log_ratio: Estimate) -> dict[str, float]:
    return {
        "ratio": math.exp(log_ratio.value),
        "low": math.exp(log_ratio.low),
        "high": math.exp(min(log_ratio.high, 700.0)),
    }


def _reading(log_ratio: Estimate) -> str:
    if log_ratio.low > 0:
        return "above"
    return "below" if log_ratio.high < 0 else "cannot tell"
