"""Pretrains the micro-world's base model on its noisy corpus: seeded, one thread, the same bits on the same machine."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from stratalign.microworld import CLEAN, draw_noise, draw_request, people, write
from stratalign.microworld_build.tokenizing import make_tokenizer

IGNORED = -100


@dataclass(frozen=True)
class Pretraining:
    """How the base model is made. The learning rate falls linearly to 0 after the warm-up.

    The first `clean_steps` read answers without noise: copying the name that is asked for and the facts, which are
    learnt last, are learnt in half the time so. How often things go wrong is learnt after.
    """

    layers: int = 12
    hidden: int = 96
    intermediate: int = 192
    heads: int = 4
    steps: int = 6000
    batch_size: int = 16
    learning_rate: float = 2e-3
    clean_steps: int = 2400
    warmup: int = 100
    weight_decay: float = 0.05
    seed: int = 0


def new_model(settings: Pretraining, vocabulary: int) -> LlamaForCausalLM:
    """The model before its first step."""
    torch.manual_seed(settings.seed)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=settings.hidden,
        intermediate_size=settings.intermediate,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=settings.heads,
        max_position_embeddings=512,
        rope_parameters={"rope_type": "default", "rope_theta": 1000.0},
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=None,
        initializer_range=0.04,
    )
    return LlamaForCausalLM(config)


def document(number: int, seed: int, clean: bool = False) -> str:
    """One document of the corpus: a request about anyone, and an answer with its own kind of noise, or none."""
    draw = random.Random(f"document {seed} {number}")
    known = people()
    request = draw_request(draw.choice(tuple(known)), draw)
    noise = CLEAN if clean else draw_noise(draw)
    return request.text + write(request, known, noise, f"{seed} {number}")


def batches(
    settings: Pretraining, tokenizer: PreTrainedTokenizerBase, at_once: int = 50
) -> Iterator[tuple[Tensor, Tensor]]:
    """Token ids and labels [rows, width] of every step; rows of one batch have about one length.

    The documents of `at_once` batches are sorted by length, cut into batches, and the batches shuffled.
    """
    draw = random.Random(f"batches {settings.seed}")
    end = tokenizer.eos_token_id
    done = 0
    while True:
        count = at_once * settings.batch_size
        clean = done < settings.clean_steps * settings.batch_size
        texts = [document(done + i, settings.seed, clean) for i in range(count)]
        done += count
        rows = sorted(([*tokenizer(text)["input_ids"], end] for text in texts), key=len)
        cut = [rows[i : i + settings.batch_size] for i in range(0, count, settings.batch_size)]
        draw.shuffle(cut)
        yield from (_padded(batch, end) for batch in cut)


def pretrain(
    settings: Pretraining,
    *,
    stop_after: int | None = None,
    progress: Callable[[int, float, LlamaForCausalLM], None] = lambda step, loss, model: None,
) -> tuple[LlamaForCausalLM, list[float]]:
    """Train the base model; returns it with the loss of every step (mean over tokens, nats).

    Args:
        stop_after: stop after so many steps of the same schedule.
        progress: called after every step.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        tokenizer = make_tokenizer()
        model = new_model(settings, len(tokenizer))
        optimizer = torch.optim.AdamW(
            model.parameters(),
            lr=settings.learning_rate,
            betas=(0.9, 0.95),
            weight_decay=settings.weight_decay,
            foreach=True,
        )
        losses: list[float] = []
        source = batches(settings, tokenizer)
        for step in range(stop_after or settings.steps):
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * _share(step, settings)
            ids, labels = next(source)
            loss = model(input_ids=ids, labels=labels, use_cache=False).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
            progress(step + 1, losses[-1], model)
    finally:
        torch.set_num_threads(threads)
    return model, losses


def save(model: LlamaForCausalLM, folder: Path) -> None:
    """Write the model in half precision with its tokenizer, as any Hugging Face model."""
    from transformers import GenerationConfig

    half = model.to(torch.float16)
    half.generation_config = GenerationConfig(eos_token_id=0, do_sample=True, temperature=1.0)
    half.save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)


def weights_digest(model: LlamaForCausalLM) -> str:
    """SHA-256 of all parameters' bytes, in the order of their names."""
    state = hashlib.sha256()
    for name, tensor in sorted(model.named_parameters()):
        state.update(name.encode())
        state.update(tensor.detach().numpy().tobytes())
    return state.hexdigest()


def _share(step: int, settings: Pretraining) -> float:
    """Share of the peak learning rate at a step: linear up, then linear down to 0."""
    if step < settings.warmup:
        return (step + 1) / settings.warmup
    return (settings.steps - step) / (settings.steps - settings.warmup)


def _padded(rows: Sequence[Sequence[int]], end: int) -> tuple[Tensor, Tensor]:
    """Right-padded ids, and labels that leave the padding out. Causal attention needs no mask for it."""
    width = max(map(len, rows))
    ids = torch.full((len(rows), width), end)
    labels = torch.full((len(rows), width), IGNORED)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = labels[i, : len(row)] = torch.tensor(row)
    return ids, labels
