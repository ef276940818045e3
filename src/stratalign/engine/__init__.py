"""Batches of token trees, and the joint engine that turns them into every condition's log-probabilities."""

from stratalign.engine.batches import Batch, collate
from stratalign.engine.joint import BasePass, JointEngine
from stratalign.engine.rows import cut_by_tokens, padded_size

__all__ = ["BasePass", "Batch", "JointEngine", "collate", "cut_by_tokens", "padded_size"]
