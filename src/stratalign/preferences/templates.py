"""Which rows the tokenizer's chat template renders: settled once for a study, from its rows and its tokenizer."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from stratalign.preferences.dialogues import Asked, Preference
from stratalign.preferences.rendering import Tokenizer
from stratalign.preferences.settings import PreferenceSettings


def settle_template(
    settings: PreferenceSettings, rows: Sequence[Preference | Asked], tokenizer: Tokenizer
) -> PreferenceSettings:
    """The settings with `template: auto` replaced by what it comes to: chat where the tokenizer has a chat template and
    the rows are not rendered already, else raw. It stays where every row is messages, which are always rendered."""
    if settings.template != "auto" or not _texts(rows):
        return settings
    chat = tokenizer.chat_template and rendered_by(rows, tokenizer) is None
    return settings.model_copy(update={"template": "chat" if chat else "raw"})


def describe_template(
    settings: PreferenceSettings, rows: Sequence[Preference | Asked], tokenizer: Tokenizer
) -> dict[str, Any]:
    """What is used for texts and transcripts (chat where there are only messages), whether the tokenizer has a chat
    template, and the special token that shows that the rows are rendered already."""
    settled = settle_template(settings, rows, tokenizer)
    return {
        "used": "raw" if settled.template == "raw" and _texts(rows) else "chat",
        "available": bool(tokenizer.chat_template),
        "rendered_by": rendered_by(rows, tokenizer),
    }


def rendered_by(rows: Sequence[Preference | Asked], tokenizer: Tokenizer) -> str | None:
    """A special token that the chat template writes and that stands in at least half of the prompts that are texts."""
    texts, template = _texts(rows), tokenizer.chat_template
    if not template or not texts:
        return None
    written = template if isinstance(template, str) else json.dumps(template, ensure_ascii=False)
    special = {
        token.content
        for token in tokenizer.added_tokens_decoder.values()
        if token.special and token.content in written
    }
    if not special:
        return None
    pattern = re.compile("|".join(map(re.escape, sorted(special))))
    found = [match[0] for text in texts if (match := pattern.search(text))]
    return found[0] if 2 * len(found) >= len(texts) else None


def _texts(rows: Sequence[Preference | Asked]) -> list[str]:
    return [row.prompt for row in rows if isinstance(row.prompt, str)]
