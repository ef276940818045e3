"""Keeps the libraries below us from printing over a study's own output. Nothing is hidden but known chatter."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from transformers.utils import logging as transformers_logging

CHATTER = (
    "Already found a `peft_config`",  # several adapters on one model are what we do
    "`is_gradient_checkpointing` is deprecated",  # PEFT asking transformers
    "`gradient_checkpointing.*` is deprecated",
)


@contextmanager
def hushed() -> Iterator[None]:
    """Within the block: no progress bars for loading weights, no warnings about what is meant."""
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    loading = logging.getLogger("transformers.modeling_utils")
    loading.addFilter(_no_report)
    try:
        with warnings.catch_warnings():
            for message in CHATTER:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        loading.removeFilter(_no_report)
        if bars:
            transformers_logging.enable_progress_bar()


def _no_report(record: logging.LogRecord) -> bool:
    """transformers' table of tensors that were missing or unused; `load_stock` refuses what matters of it."""
    return "LOAD REPORT" not in record.getMessage()
