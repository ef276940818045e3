"""Sequence classifiers, which is what reward models are: their labels, and loading. Knows nothing of what is scored."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from stratalign.errors import UserError
from stratalign.models.loading import WITHOUT_WEIGHTS, read_config, read_weights, resolve_folder
from stratalign.records import file_digest


class Classifier(NamedTuple):
    """What is known of a sequence classifier before its weights are loaded."""

    folder: Path
    labels: tuple[str, ...]
    longest: int | None
    """Tokens that it knows positions for; None where its configuration does not say."""


def inspect_classifier(name: str, revision: str | None = None) -> Classifier:
    """Labels and length of a sequence classifier, from its configuration alone.

    Raises:
        UserError: no such model, of a type that transformers does not know, or no sequence classifier.
    """
    folder = resolve_folder(name, revision, WITHOUT_WEIGHTS)
    config = read_config(folder)
    made = getattr(config, "architectures", None) or []
    if not any(str(one).endswith("ForSequenceClassification") for one in made):
        raise UserError(
            f"The model in {folder} is {' or '.join(map(str, made)) or 'of no stated architecture'}, not a sequence "
            "classifier, so it gives no reward. Name one whose architecture ends in ForSequenceClassification."
        )
    labels = tuple(str(config.id2label[i]) for i in sorted(config.id2label))
    if len(set(labels)) != len(labels):
        raise UserError(
            f"Two labels of the model in {folder} have one name ({', '.join(labels)}). Correct id2label in its "
            "config.json."
        )
    longest = getattr(config.get_text_config(), "max_position_embeddings", None)
    return Classifier(folder, labels, longest if isinstance(longest, int) and longest > 0 else None)


def load_classifier(
    name: str, revision: str | None, *, dtype: torch.dtype, device: torch.device
) -> PreTrainedModel:
    """The classifier, frozen and in evaluation mode.

    Raises:
        UserError: see `inspect_classifier`; or the files do not fill the model.
    """
    folder = resolve_folder(name, revision)
    model = read_weights(AutoModelForSequenceClassification, folder, dtype=dtype)
    model.requires_grad_(False)
    placed: PreTrainedModel = model.to(device).eval()
    return placed


def classifier_files(name: str, revision: str | None) -> dict[str, str]:
    """SHA-256 of every file that the classifier's scores depend on, its tokenizer's included."""
    folder = resolve_folder(name, revision)
    files = [
        path
        for path in folder.iterdir()
        if path.suffix in (".safetensors", ".json", ".jinja", ".model", ".txt")
    ]
    return {path.name: file_digest(path) for path in sorted(files)}
