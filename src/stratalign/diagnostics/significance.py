"""Significance: which modules' updates the loss needs, learned as one score for each (ILA).

Stage 2 of "Understanding Layer Significance in LLM Alignment" (Shi et al., arXiv:2410.17875v3): the trained update of
every linear module is multiplied by sigmoid(score), everything else is frozen, and the scores follow the loss by
plain gradient descent. AdamW would move every score by about its rate and lose the ranking. Stage 1, the training of
the update, is somebody else's; here an adapter is given. The paper's start, rate, number of steps and batch are not
known to us: those here are our choice, and so is ranking by score without a term that asks for few modules.

Two cheaper forms stand beside the scores: the slope of the loss by each gate, at the trained model and at the base,
and the loss without one layer's or one block's update. Knows nothing of recipes or folders.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from stratalign.blocks import Site, drop_share, keep_share, ranked
from stratalign.diagnostics.gates import gate_slopes, gated_losses
from stratalign.diagnostics.naming import by_layer, effect_sizes, name_by_rows, positive_p
from stratalign.engine import JointEngine
from stratalign.errors import StudyFailure, UserError
from stratalign.losses import Objective
from stratalign.models import weights_digest
from stratalign.preferences import Tree
from stratalign.records import Progress, keyed_seed, silent
from stratalign.stats import clustered_mean, overlap, rank_correlation

Floats = NDArray[np.float64]


class SignificanceSettings(BaseModel):
    """What `diagnose significance` does; the paper's values are not known to us, so all are ours."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    run: str | None = Field(
        None,
        description="a trained run of the study's folder to look at; null: one is trained on every linear module",
    )
    adapter: str | None = Field(None, description="a PEFT adapter folder to look at in place of a run")
    tuned: str | None = Field(
        None,
        description="a fully trained checkpoint (hub id or folder) in place of a run: its difference to the model",
    )
    steps: int = Field(64, ge=2, description="steps of the scores' gradient descent")
    batch: int = Field(16, ge=1, description="training pairs in such a step")
    start: float = Field(4.0, description="score that all modules start at: gates of 0.98")
    rate: float | Literal["auto"] = Field(
        "auto",
        description="rate of the descent; auto: at the first step's steepest slope a gate would end half open",
    )
    important: float = Field(
        0.75, gt=0, lt=1, description="share of modules called important; 75 % in ILA's figures"
    )
    epsilon: float = Field(
        0.05,
        gt=0,
        description="the training is stable once its validation loss changes by less, as a share of its whole change, "
        "from one look to the next, a tenth of the training later",
    )
    seed: int = Field(0, description="draws the adapter's start and the steps' pairs")
    beside: tuple[Literal["slopes", "masks", "gate_steps"], ...] = Field(
        ("slopes", "masks", "gate_steps"),
        description="what is measured beside the scores: slopes at the trained model and at the base; losses under "
        "hard masks and without a layer or block; steps of the gates at consecutive training steps (Theorem 3.1)",
    )


@dataclass(frozen=True)
class Scores:
    """Scores [modules] after the descent, the score gradients [steps, modules] that led there, and the rate."""

    values: Floats
    gradients: Floats
    start: float
    rate: float

    def standard_errors(self) -> Floats:
        """Of each score, over minibatches: rate x sqrt(steps) x the gradients' standard deviation.

        Steps are taken as independent draws; that gates move between them is left out.
        """
        found: Floats = self.rate * np.sqrt(len(self.gradients)) * self.gradients.std(axis=0, ddof=1)
        return found

    def halves(self) -> tuple[Floats, Floats]:
        """The scores that the even and the odd steps' gradients alone lead to, over as many steps."""
        first, second = (
            self.start - self.rate * len(self.gradients) * self.gradients[part::2].mean(axis=0)
            for part in (0, 1)
        )
        return first, second


def learn_scores(
    engine: JointEngine,
    run: str,
    modules: Sequence[str],
    trees: Sequence[Tree],
    objective: Objective,
    settings: SignificanceSettings,
    progress: Progress = silent,
) -> Scores:
    """Gradient descent on the scores alone; base and adapter are frozen.

    d loss / d score = sigmoid'(score) x <d loss / d W, update>.

    Raises:
        UserError: no gate has any slope, as with an adapter that was never trained.
    """
    scores = torch.full((len(modules),), settings.start, dtype=torch.float64)
    rate = None if settings.rate == "auto" else settings.rate
    history: list[Tensor] = []
    for number, batch in enumerate(minibatches(trees, settings.batch, settings.steps, settings.seed)):
        gates = torch.sigmoid(scores)
        gradient = gates * (1 - gates) * gate_slopes(engine, run, modules, gates, batch, objective)
        if rate is None:
            steepest = float(gradient.abs().max())
            if steepest == 0:
                raise UserError(
                    "No module's update changes the loss at all: was the adapter trained? `stratalign audit` lists "
                    "what it holds."
                )
            rate = abs(settings.start) / (settings.steps * steepest)
        scores = scores - rate * gradient
        history.append(gradient)
        progress("significance", number + 1, settings.steps)
    assert rate is not None
    return Scores(scores.numpy(), torch.stack(history).numpy(), settings.start, rate)


def minibatches(trees: Sequence[Tree], size: int, count: int, seed: int) -> Iterator[list[Tree]]:
    """`count` batches of `size` rows; every row once, in an order drawn from the seed, before any comes again."""
    order: list[int] = []
    for number in range(count):
        while len(order) < size:
            draw = np.random.default_rng(keyed_seed("significance", seed, number, len(order)))
            order += draw.permutation(len(trees)).tolist()
        yield [trees[i] for i in order[:size]]
        order = order[size:]


def measure_significance(
    engine: JointEngine,
    run: str,
    sites: Sequence[Site],
    blocks: Mapping[str, Sequence[int]],
    trees: Sequence[Tree],
    others: Sequence[Tree],
    objective: Objective,
    settings: SignificanceSettings,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Scores and everything beside them, as plain numbers for a record.

    Args:
        engine: with the run attached.
        sites: of the run's modules, in model order.
        blocks: of the partition, name -> layers.
        trees: training pairs, from which scores and slopes are taken.
        others: rows on which losses under hard masks are measured: validation, or where there is none, `trees`.
        objective: the loss that the adapter was trained with.

    Raises:
        UserError: see `learn_scores`.
        StudyFailure: a weight has changed meanwhile.
    """
    modules = [site.name for site in sites]
    before = weights_digest(engine.model)
    learned = learn_scores(engine, run, modules, trees, objective, settings, progress)
    slopes = {
        name: _slopes(engine, run, modules, value, trees, objective, settings)
        for name, value in (("trained", 1.0), ("base", 0.0))
        if "slopes" in settings.beside
    }
    values = dict(zip(modules, learned.values.tolist(), strict=True))
    important = keep_share(values, settings.important)
    losses, rows = None, None
    if "masks" in settings.beside:
        losses, rows = _masked_losses(engine, run, sites, blocks, others, objective, values, important)
    apart = not {tree.row_id for tree in trees} & {tree.row_id for tree in others}
    if weights_digest(engine.model) != before:
        raise StudyFailure(
            "A weight changed while scores were learned. Nothing was recorded; please report this."
        )
    # a falling loss is a negative slope: what matters has a large score and a small slope
    first_order = {name: -found.mean(axis=0) for name, found in slopes.items()}
    return {
        "pairs": len(trees),
        "rate": learned.rate,
        "modules": _modules(sites, learned, slopes, important),
        "important": [name for name in modules if name in important],
        "insignificant": [name for name in modules if name not in important],
        "heatmap": heatmap(sites, values),
        "stability": _stability(modules, learned, settings.important),
        "score_gradients": learned.gradients.tolist(),
        "losses": losses,
        "named": _named(sites, learned, slopes, rows, others) if apart and rows is not None else None,
        "weights_sha256": before,
        "scores": {
            "score": values,
            **{
                f"slope_at_{name}": dict(zip(modules, found.tolist(), strict=True))
                for name, found in first_order.items()
            },
        },
    }


def heatmap(sites: Sequence[Site], values: Mapping[str, float]) -> dict[str, Any]:
    """Layers x kinds of module: a row for each layer, None where a layer has no such module."""
    layers = sorted({site.layer for site in sites})
    kinds = list(dict.fromkeys(site.kind for site in sites))
    at = {(site.layer, site.kind): values[site.name] for site in sites}
    return {
        "layers": layers,
        "kinds": kinds,
        "values": [[at.get((layer, kind)) for kind in kinds] for layer in layers],
    }


def compare_important(one: Mapping[str, float], other: Mapping[str, float], share: float) -> dict[str, Any]:
    """How far two rankings of the same modules agree: their top shares' overlap beside chance, and rank correlation.

    Raises:
        UserError: they are not about the same modules.
    """
    if set(one) != set(other):
        odd = sorted(set(one) ^ set(other))
        raise UserError(
            f"The two records are not about the same modules: {len(odd)} are in one of them alone, such as {odd[0]}."
        )
    names = list(one)
    return {
        "share": share,
        **asdict(overlap(keep_share(one, share), keep_share(other, share), len(names))),
        "rank_correlation": rank_correlation([one[n] for n in names], [other[n] for n in names]),
    }


def _slopes(
    engine: JointEngine,
    run: str,
    modules: Sequence[str],
    gate: float,
    trees: Sequence[Tree],
    objective: Objective,
    settings: SignificanceSettings,
) -> Floats:
    """Slopes [batches, modules] at one gate for all modules, over as many pairs as there are or the descent sees."""
    count = max(2, min(settings.steps, len(trees) // settings.batch))
    gates = torch.full((len(modules),), gate, dtype=torch.float64)
    parts = minibatches(trees, settings.batch, count, settings.seed)
    return np.stack([gate_slopes(engine, run, modules, gates, part, objective).numpy() for part in parts])


def _masked_losses(
    engine: JointEngine,
    run: str,
    sites: Sequence[Site],
    blocks: Mapping[str, Sequence[int]],
    trees: Sequence[Tree],
    objective: Objective,
    scores: Mapping[str, float],
    important: frozenset[str],
) -> tuple[dict[str, Any], dict[str, list[float]]]:
    """The loss under hard masks, and how much it rises when one layer's or one block's update is taken out; as a
    description, and of every row."""
    modules = [site.name for site in sites]
    layers = sorted({site.layer for site in sites})

    def without(kept: frozenset[str]) -> dict[str, float]:
        return {name: float(name in kept) for name in modules}

    few = drop_share(scores, 0.75)
    masks = {
        "trained": {},
        "base": without(frozenset()),
        "important": without(important),
        "insignificant": without(frozenset(modules) - important),
        "top_quarter": without(few),
    }
    taken_out = {f"layer {layer}": [layer] for layer in layers} | {
        f"block {name}": list(own) for name, own in blocks.items()
    }
    for name, own in taken_out.items():
        masks[name] = {site.name: 0.0 for site in sites if site.layer in own}
    found = gated_losses(engine, run, masks, trees, objective)
    clusters = [tree.cluster for tree in trees]
    whole = np.array(found["trained"])

    def rise(name: str) -> dict[str, Any]:
        mean = clustered_mean(np.array(found[name]) - whole, clusters)
        return {"rise": mean.mean, "standard_error": mean.standard_error}

    described = {
        "rows": len(trees),
        "mean": {name: float(np.mean(found[name])) for name in list(masks)[:5]},
        "without_layer": [{"layer": layer} | rise(f"layer {layer}") for layer in layers],
        "without_block": {name: rise(f"block {name}") for name in blocks},
    }
    return described, found


def _named(
    sites: Sequence[Site],
    learned: Scores,
    slopes: Mapping[str, Floats],
    losses: Mapping[str, Sequence[float]],
    others: Sequence[Tree],
) -> dict[str, Any] | None:
    """Signal -> what it names among layers. There is a signal where the training lowered the loss of rows that it did
    not see; a training lowers that of its own pairs even where they say nothing."""
    layers = sorted({site.layer for site in sites})
    if len(layers) < 2:
        return None
    clusters = [tree.cluster for tree in others]
    trained = np.array(losses["trained"])
    signal_p = positive_p(np.array(losses["base"]) - trained, clusters)
    rises = np.stack([np.array(losses[f"layer {layer}"]) - trained for layer in layers], axis=1)
    by_minibatch = {"score": -learned.gradients} | {f"slope_at_{at}": -own for at, own in slopes.items()}
    found = {
        "without_layer": name_by_rows(rises, clusters, layers, signal_p),
        "without_layer_over_spread": name_by_rows(rises, clusters, layers, signal_p, effect_sizes),
    }
    for signal, own in by_minibatch.items():
        summed = by_layer(own, [site.layer for site in sites])
        found[signal] = name_by_rows(summed, range(len(summed)), layers, signal_p)
    return {signal: own.describe() for signal, own in found.items()}


def _modules(
    sites: Sequence[Site], learned: Scores, slopes: Mapping[str, Floats], important: frozenset[str]
) -> list[dict[str, Any]]:
    names = [site.name for site in sites]
    values = dict(zip(names, learned.values.tolist(), strict=True))
    ranks = {name: place for place, name in enumerate(ranked(values), 1)}
    errors = learned.standard_errors()
    rows = []
    for i, site in enumerate(sites):
        alike = {s.name: values[s.name] for s in sites if s.kind == site.kind}
        rows.append(
            {
                "module": site.name,
                "layer": site.layer,
                "kind": site.kind,
                "score": values[site.name],
                "standard_error": float(errors[i]),
                "gate": float(1 / (1 + np.exp(-values[site.name]))),
                "rank": ranks[site.name],
                "rank_in_kind": 1 + ranked(alike).index(site.name),
                "important": site.name in important,
                "slopes": {
                    where: {
                        "value": float(found[:, i].mean()),
                        "standard_error": float(found[:, i].std(ddof=1) / np.sqrt(len(found))),
                    }
                    for where, found in slopes.items()
                },
            }
        )
    return rows


def _stability(modules: Sequence[str], learned: Scores, share: float) -> dict[str, Any]:
    """Two halves of the minibatches against each other."""
    first, second = (dict(zip(modules, half.tolist(), strict=True)) for half in learned.halves())
    return compare_important(first, second, share)
