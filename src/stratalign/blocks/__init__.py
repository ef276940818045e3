"""From layers to named blocks to conditions as sets of modules. Pure: works on numbers and names."""

from stratalign.blocks.budgets import (
    Cost,
    cost_of,
)
from stratalign.blocks.conditions import (
    Condition,
    Phase,
    cost_of_full,
    resolve_condition,
)
from stratalign.blocks.contests import (
    SELECTORS,
    SelectorsSettings,
    draws_of_kinds,
    selector_conditions,
)
from stratalign.blocks.families import (
    FAMILIES,
    REFUSALS,
    Family,
    Refusal,
    describe_family,
)
from stratalign.blocks.grids import (
    TUNED_KEYS,
    Grid,
)
from stratalign.blocks.measured import (
    measured_partition,
)
from stratalign.blocks.partitions import (
    MOST_LAYERS,
    PARTITIONS,
    Blocks,
    PartitionSettings,
    partition,
)
from stratalign.blocks.profile import (
    Added,
    BoundarySettings,
    ProfileSettings,
    added_conditions,
    random_draws,
    shifted_blocks,
    windows,
)
from stratalign.blocks.segmentation import (
    segment,
    segment_values,
)
from stratalign.blocks.selectors import (
    Signals,
    diagnose_command,
    drop_share,
    hard_mask,
    keep_share,
    ranked,
    record_kind,
    scores_by,
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
    single_modules,
)
from stratalign.blocks.specs import (
    RANDOM,
    SHUFFLED,
    ConditionSpec,
    draws_modules,
    expand_conditions,
    names_block,
    needs_record,
)

__all__ = [
    "DEFAULT_TARGETS",
    "FAMILIES",
    "MOST_LAYERS",
    "PARTITIONS",
    "RANDOM",
    "REFUSALS",
    "SELECTORS",
    "SHUFFLED",
    "TUNED_KEYS",
    "WORDS",
    "Added",
    "Blocks",
    "BoundarySettings",
    "Condition",
    "ConditionSpec",
    "Cost",
    "Family",
    "Grid",
    "PartitionSettings",
    "Phase",
    "ProfileSettings",
    "Refusal",
    "SelectorsSettings",
    "Signals",
    "Site",
    "adapter_parameters",
    "added_conditions",
    "cost_of",
    "cost_of_full",
    "describe_family",
    "describe_layers",
    "diagnose_command",
    "draws_modules",
    "draws_of_kinds",
    "drop_share",
    "expand_conditions",
    "hard_mask",
    "keep_share",
    "kinds",
    "measured_partition",
    "name_targets",
    "names_block",
    "needs_record",
    "partition",
    "random_draws",
    "ranked",
    "record_kind",
    "resolve_condition",
    "scores_by",
    "segment",
    "segment_values",
    "select_sites",
    "selector_conditions",
    "shifted_blocks",
    "shuffled_within",
    "single_modules",
    "windows",
]
