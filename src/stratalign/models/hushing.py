"""Keeps the libraries below us from printing over a study's own output. Nothing is hidden but known chatter."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from transformers.utils import logging

CHATTER = (
    "Already found a `peft_config`",  # several adapters on one model are what we do
    "`is_gradient_checkpointing` is deprecated",  # PEFT asking transformers
    "`gradient_checkpointing.*` is deprecated",
)


@contextmanager
def hushed() -> Iterator[None]:
    """Within the block: no progress bars for loading weights, no warnings about what is meant."""
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            for message in CHATTER:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        if bars:
            logging.enable_progress_bar()
