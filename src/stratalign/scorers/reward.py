"""A Hugging Face reward model as a scorer: a sequence classifier's logits of prompt and response together.

One label is the dimension `reward`; several are one dimension each, by their names. Logits are as the model gives
them, each text's the same as in a pass of its own, up to rounding. Knows nothing of runs or files.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from stratalign.errors import UserError, unknown_name
from stratalign.models import classifier_files, inspect_classifier, load_classifier, read_tokenizer
from stratalign.preferences import Refused, exchange_ids
from stratalign.records import Dimension
from stratalign.scorers.scorer import Exchange, Scorer, Values
from stratalign.scorers.settings import ScorerSettings


def reward_scorer(settings: ScorerSettings, *, dtype: torch.dtype, device: torch.device) -> Scorer:
    """The scorer of a reward model; its weights are loaded when it is first asked.

    Raises:
        UserError: the model cannot be had, is no sequence classifier, or lacks a label that `lower` names.
    """
    model = RewardModel(settings, dtype=dtype, device=device)
    identity = {
        "reward": settings.called,
        "files": classifier_files(str(settings.reward), settings.revision),
        "dtype": str(dtype),
        "max_length": model.longest,
    }
    return Scorer(settings.called, identity, reward_dimensions(settings), model.score)


def reward_dimensions(settings: ScorerSettings) -> tuple[Dimension, ...]:
    """The dimensions of a reward model, from its configuration alone.

    Raises:
        UserError: see `reward_scorer`.
    """
    labels = inspect_classifier(str(settings.reward), settings.revision).labels
    names = ("reward",) if len(labels) == 1 else labels
    for name in settings.lower:
        if name not in names:
            raise unknown_name(f"label in `lower` of the scorer {settings.called!r}", name, names)
    return tuple(
        Dimension(
            name,
            "logit",
            "lower" if name in settings.lower else "higher",
            f"given by the model {settings.called}",
        )
        for name in names
    )


class RewardModel:
    """A reward model: texts to logits in batches of similar length."""

    def __init__(self, settings: ScorerSettings, *, dtype: torch.dtype, device: torch.device) -> None:
        self._settings = settings
        self._dtype, self._device = dtype, device
        self._found = inspect_classifier(str(settings.reward), settings.revision)
        self._names = [dimension.name for dimension in reward_dimensions(settings)]
        self.longest = settings.max_length or self._found.longest

    def score(self, exchanges: Sequence[Exchange]) -> Values:
        """One logit for each exchange and label; none where the text is too long or the chat template refuses it.

        Raises:
            UserError: the model has no chat template where one is needed, or a logit is not finite.
        """
        ids = [self._ids(one) for one in exchanges]
        values: Values = {name: [None] * len(ids) for name in self._names}
        order = sorted((i for i, own in enumerate(ids) if own), key=lambda i: (len(ids[i]), i))
        for start in range(0, len(order), self._settings.batch_size):
            part = order[start : start + self._settings.batch_size]
            logits = self._logits([ids[i] for i in part])
            if not torch.isfinite(logits).all():
                raise UserError(
                    f"The reward model {self._settings.called!r} gave a value that is not finite. Its weights are "
                    f"damaged, or {self._dtype} is too coarse for it: set training.precision."
                )
            for i, row in zip(part, logits.tolist(), strict=True):
                for name, value in zip(self._names, row, strict=True):
                    values[name][i] = value
        return values

    @cached_property
    def _model(self) -> PreTrainedModel:
        settings = self._settings
        return load_classifier(
            str(settings.reward), settings.revision, dtype=self._dtype, device=self._device
        )

    @cached_property
    def _tokenizer(self) -> PreTrainedTokenizerBase:
        return read_tokenizer(self._found.folder)

    def _ids(self, one: Exchange) -> list[int]:
        """The text's tokens; none where it gets no reward."""
        if one.kind == "messages" and not self._tokenizer.chat_template:
            raise UserError(
                f"The prompts are messages, but the tokenizer of the reward model {self._settings.called!r} has no "
                "chat template. Use a reward model that has one, or prompts that are texts."
            )
        try:
            ids = exchange_ids(one.prompt, one.kind, one.response, self._tokenizer)
        except Refused:
            return []
        return ids if self.longest is None or len(ids) <= self.longest else []

    @torch.no_grad()
    def _logits(self, ids: Sequence[Sequence[int]]) -> Tensor:
        """Logits [rows, labels] in float32 of texts padded on the right.

        Decoders find a text's last token by the padding token of their configuration, trailing ones passed over. Where
        none is configured, the last token counts, whatever it is: then an id is used that occurs in none of the texts.
        """
        config = self._model.config.get_text_config()
        configured = config.pad_token_id
        used = {token for row in ids for token in row}
        pad = configured if configured is not None else next(i for i in range(len(used) + 1) if i not in used)
        width = max(map(len, ids))
        tokens = torch.full((len(ids), width), pad, dtype=torch.int64)
        mask = torch.zeros_like(tokens)
        for row, own in enumerate(ids):
            tokens[row, : len(own)] = torch.tensor(own)
            mask[row, : len(own)] = 1
        config.pad_token_id = pad
        try:
            given = self._model(input_ids=tokens.to(self._device), attention_mask=mask.to(self._device))
        finally:
            config.pad_token_id = configured
        return given.logits.float()  # type: ignore[no-any-return]
