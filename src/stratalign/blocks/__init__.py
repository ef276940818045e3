"""From layers to named blocks to conditions as sets of modules. Pure: works on numbers and names."""

from stratalign.blocks.conditions import Condition, Phase, resolve_condition
from stratalign.blocks.families import FAMILIES, REFUSALS, Family, Refusal, describe_family
from stratalign.blocks.partitions import PARTITIONS, Blocks, PartitionSettings, partition
from stratalign.blocks.segmentation import segment
from stratalign.blocks.selectors import (
    Signals,
    diagnose_command,
    drop_share,
    hard_mask,
    keep_share,
    modules_by,
    ranked,
    shuffled_within,
)
from stratalign.blocks.sites import (
    DEFAULT_TARGETS,
    WORDS,
    Site,
    adapter_parameters,
    describe_layers,
    kinds,
    name_targets,
    select_sites,
)
from stratalign.blocks.specs import ConditionSpec, expand_conditions

__all__ = [
    "DEFAULT_TARGETS",
    "FAMILIES",
    "PARTITIONS",
    "REFUSALS",
    "WORDS",
    "Blocks",
    "Condition",
    "ConditionSpec",
    "Family",
    "PartitionSettings",
    "Phase",
    "Refusal",
    "Signals",
    "Site",
    "adapter_parameters",
    "describe_family",
    "describe_layers",
    "diagnose_command",
    "drop_share",
    "expand_conditions",
    "hard_mask",
    "keep_share",
    "kinds",
    "modules_by",
    "name_targets",
    "partition",
    "ranked",
    "resolve_condition",
    "segment",
    "select_sites",
    "shuffled_within",
]
