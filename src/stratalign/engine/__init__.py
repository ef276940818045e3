"""Batches of token trees, and the joint engine that turns them into every condition's log-probabilities."""

from stratalign.engine.batches import Batch, collate
from stratalign.engine.cutting import UNPLANNED_TOKENS, cut_by_tokens, padded_size
from stratalign.engine.halving import fits, for_each_pack
from stratalign.engine.joint import BasePass, JointEngine
from stratalign.engine.memory import MemoryPlan, plan_memory

__all__ = [
    "UNPLANNED_TOKENS",
    "BasePass",
    "Batch",
    "JointEngine",
    "MemoryPlan",
    "collate",
    "cut_by_tokens",
    "fits",
    "for_each_pack",
    "padded_size",
    "plan_memory",
]
