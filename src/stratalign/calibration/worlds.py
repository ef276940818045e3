"""Worlds in which it is known which layer carries a preference, and worlds in which none does.

Planted: noise of low rank is added to every linear module of one layer of a model. The damaged model is the one that is
studied; to the same prompts the model's answers from before are chosen, the damaged one's rejected. An adapter of that
rank on that layer could undo the damage exactly, one elsewhere could not. How much noise is set by what it does, the
same rise of the loss whatever the layer, so that layers differ in where they lie and not in how badly they are hurt.

Null: both answers are samples of one and the same model, and a coin says which is chosen, so that nothing can be
learnt. The model is the sound one, or a damaged one, in which a layer is odd but carries no preference.

Knows nothing of instruments.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from stratalign.blocks import Site
from stratalign.engine import JointEngine
from stratalign.errors import UserError
from stratalign.generation import GenerationSettings, Prompt, answer, batches
from stratalign.models import AdapterBank, LoadedModel, weight_norm
from stratalign.preferences import Preference, PreferenceSettings, Tree, grow, tokenize
from stratalign.records import keyed_seed

Kind = Literal["planted", "null", "null, damaged"]

STRENGTHS = (0.1, 10.0)
"""Between which the noise is set, as multiples of the weights' norms."""
HALVINGS = 8
"""How often that range is halved: the strength is then known to 2 %."""
MEASURED = 48
"""Answers on which the rise of the loss is measured."""

FEWEST_CLUSTERS = 12
"""With fewer, intervals over the parts to train on and to hold back say nothing."""


class WorldSettings(BaseModel):
    """How large a world is, and how its layer is damaged; all are ours."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pairs: int = Field(192, ge=16, description="prompts that both sides answer")
    held_back: float = Field(0.25, gt=0, lt=1, description="share of the clusters that nothing is trained on")
    rank: int | None = Field(8, ge=1, description="of the noise; null: full")
    rise: float = Field(
        0.2, gt=0, description="of the loss on the sound model's own answers, in nats per token"
    )
    most_tokens: int = Field(160, ge=1, description="of an answer; one that does not end by then is left out")


QUICK_WORLD = WorldSettings(pairs=96)
"""The size of the worlds that end the demo."""


@dataclass(frozen=True)
class World:
    """Pairs as trees, those to train on and those held back (other clusters); the truth, and what was done.

    `layer` was damaged; `planted` says whether it carries the preference. `strength` is the noise's norm over the
    weight's; `left_out` counts prompts whose answers were alike or did not end.
    """

    kind: Kind
    seed: int
    layer: int | None
    strength: float | None
    train: tuple[Tree, ...]
    held_back: tuple[Tree, ...]
    left_out: int

    @property
    def planted(self) -> int | None:
        """The layer that carries the preference."""
        return self.layer if self.kind == "planted" else None


def make_world(
    kind: Kind,
    seed: int,
    loaded: LoadedModel,
    sites: Sequence[Site],
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    settings: WorldSettings,
) -> World:
    """Damage the loaded model in place, if the kind says so, and sample the pairs.

    Args:
        prompts: from which `settings.pairs` are drawn.
        sites: of the model, all layers.

    Raises:
        UserError: too few prompts or answers, or noise cannot do as much as `settings.rise` asks for.
    """
    if len(prompts) < settings.pairs:
        raise UserError(f"A world of {settings.pairs} pairs takes as many prompts, got {len(prompts)}.")
    draw = random.Random(keyed_seed("world", kind, seed))
    asked = draw.sample(list(prompts), settings.pairs)
    layer = draw_layer(kind, seed, {site.layer for site in sites})
    model, strength = loaded.model, None
    chosen: dict[str, str] = {}
    if layer is not None:
        chosen = _answers(model, tokenizer, asked, settings, (kind, seed, "sound"))
        own = [site for site in sites if site.layer == layer]
        strength = _damage(loaded, own, tokenizer, asked, chosen, settings, seed)
    if kind != "planted":
        chosen = _answers(model, tokenizer, asked, settings, (kind, seed, "first"))
    rejected = _answers(model, tokenizer, asked, settings, (kind, seed, "second"))
    rows: list[Preference] = []
    for prompt in asked:
        sides = chosen.get(prompt.prompt_id, ""), rejected.get(prompt.prompt_id, "")
        if kind != "planted" and draw.random() < 0.5:
            sides = sides[1], sides[0]
        if all(sides) and sides[0] != sides[1]:
            rows.append(
                Preference(
                    prompt.prompt_id, len(rows), prompt.text, sides[0], sides[1], prompt.cluster, "text"
                )
            )
    trees = tokenize(rows, tokenizer, PreferenceSettings(source="sampled")).trees
    clusters = sorted({tree.cluster for tree in trees})
    if len(clusters) < FEWEST_CLUSTERS:
        raise UserError(
            f"Only {len(trees)} of {len(asked)} prompts, of {len(clusters)} people, have two answers that end and "
            "differ. Raise pairs or most_tokens, or take a model that ends its answers."
        )
    draw.shuffle(clusters)
    kept = set(clusters[: max(1, round(settings.held_back * len(clusters)))])
    return World(
        kind,
        seed,
        layer,
        strength,
        tuple(tree for tree in trees if tree.cluster not in kept),
        tuple(tree for tree in trees if tree.cluster in kept),
        len(asked) - len(trees),
    )


def draw_layer(kind: Kind, seed: int, layers: Iterable[int]) -> int | None:
    """The layer that is damaged, each as likely; None where the model stays sound."""
    return None if kind == "null" else random.Random(keyed_seed("layer", kind, seed)).choice(sorted(layers))


def draw_noise(site: Site, rank: int | None, seed: int) -> Tensor:
    """Noise [out, in] of norm 1 for a module, float64, drawn from (seed, module name)."""
    generator = torch.Generator().manual_seed(keyed_seed("noise", seed, site.name))

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    shape = site.out_features, site.in_features
    drawn = normal(*shape) if rank is None else normal(shape[0], rank) @ normal(rank, shape[1])
    found: Tensor = drawn / drawn.norm()
    return found


def _damage(
    loaded: LoadedModel,
    sites: Iterable[Site],
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    answers: Mapping[str, str],
    settings: WorldSettings,
    seed: int,
) -> float:
    """Add noise to these modules until the answers' loss has risen as asked; how much, over the weights' norms."""
    places = []
    for site in sites:
        weight = loaded.model.get_parameter(f"{site.name}.weight")
        noise = draw_noise(site, settings.rank, seed) * weight_norm(loaded.model, site.name)
        places.append((weight, weight.clone(), (noise.t() if site.transposed else noise).to(weight)))
    trees = [
        _demonstration(tokenizer, prompt, answers[prompt.prompt_id])
        for prompt in prompts
        if prompt.prompt_id in answers
    ][:MEASURED]

    def put(strength: float) -> None:
        with torch.no_grad():
            for weight, sound, noise in places:
                weight.copy_(sound + strength * noise)

    if not trees:
        raise UserError(
            "No answer of the sound model ended. Raise most_tokens, or take a model that ends its answers."
        )
    before = _loss(loaded, trees)
    low, high = STRENGTHS
    put(high)
    if _loss(loaded, trees) - before < settings.rise:
        raise UserError(
            f"Noise of {high:g} times the weights' norm raises the loss by less than {settings.rise:g} nats per token. "
            "Ask for a smaller rise."
        )
    for _ in range(HALVINGS):
        middle = (low * high) ** 0.5
        put(middle)
        low, high = (low, middle) if _loss(loaded, trees) - before > settings.rise else (middle, high)
    put(high)
    return high


def _demonstration(tokenizer: PreTrainedTokenizerBase, prompt: Prompt, text: str) -> Tree:
    full = [*tokenizer(prompt.text + text)["input_ids"], tokenizer.eos_token_id]
    return grow(prompt.prompt_id, prompt.cluster, [full], [len(prompt.ids)])


@torch.no_grad()
def _loss(loaded: LoadedModel, trees: Sequence[Tree]) -> float:
    """Negative log-likelihood in nats per token."""
    engine = JointEngine(loaded.anatomy, AdapterBank(loaded.model), {})
    total, tokens = 0.0, 0
    for part in engine.cut(trees):
        batch = engine.collate([trees[i] for i in part])
        total -= float(engine.base(batch).reference.sum())
        tokens += int(batch.lengths().sum())
    return total / tokens


def _answers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    settings: WorldSettings,
    key: object,
) -> dict[str, str]:
    """Answers at temperature 1 that ended and say something, by prompt."""
    generation = GenerationSettings(max_new_tokens=settings.most_tokens, temperature=1.0, batch_size=256)
    found = {}
    for group in batches(prompts, generation.batch_size):
        for prompt, own in zip(group, answer(model, tokenizer, group, generation, key=key), strict=True):
            if own.finish == "stop" and own.text.strip():
                found[prompt.prompt_id] = own.text
    return found
