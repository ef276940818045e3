"""Base models: loading, finding their parts, attaching adapters, proving what was trained, merging."""

from stratalign.models.adapter_files import PREFIX, load_tensors, module_names, read_adapter_config
from stratalign.models.adapters import AdapterBank, AdapterSpec, draw_a
from stratalign.models.anatomy import (
    Anatomy,
    Captured,
    advance,
    can_stop,
    capture,
    check_replay,
    find_anatomy,
    replay,
    rounding,
    to_logits,
)
from stratalign.models.auditing import Audit, audit
from stratalign.models.classifying import (
    Classifier,
    classifier_files,
    inspect_classifier,
    load_classifier,
)
from stratalign.models.digesting import weights_digest
from stratalign.models.families import positions_of
from stratalign.models.fitting import with_adapter
from stratalign.models.hushing import hushed
from stratalign.models.linears import list_sites
from stratalign.models.loading import (
    LoadedModel,
    ModelSettings,
    ModelShape,
    base_files,
    eos_ids,
    inspect_model,
    load_model,
    load_stock,
    load_tokenizer,
    of_adapter,
    read_tokenizer,
    resolve_folder,
)
from stratalign.models.merging import merge
from stratalign.models.mixing import Mixture, Unmixable
from stratalign.models.out_of_memory import is_out_of_memory
from stratalign.models.packing import check_packing, lay_out, packed_inputs, packed_length
from stratalign.models.soundness import check_support
from stratalign.models.tapping import tapped, weight_norm
from stratalign.models.tree_attention import SEGMENT, Spans, TreeMask, segment_sizes
from stratalign.models.updates import Difference, WholeUpdates, read_difference

__all__ = [
    "PREFIX",
    "SEGMENT",
    "AdapterBank",
    "AdapterSpec",
    "Anatomy",
    "Audit",
    "Captured",
    "Classifier",
    "Difference",
    "LoadedModel",
    "Mixture",
    "ModelSettings",
    "ModelShape",
    "Spans",
    "TreeMask",
    "Unmixable",
    "WholeUpdates",
    "advance",
    "audit",
    "base_files",
    "can_stop",
    "capture",
    "check_packing",
    "check_replay",
    "check_support",
    "classifier_files",
    "draw_a",
    "eos_ids",
    "find_anatomy",
    "hushed",
    "inspect_classifier",
    "inspect_model",
    "is_out_of_memory",
    "lay_out",
    "list_sites",
    "load_classifier",
    "load_model",
    "load_stock",
    "load_tensors",
    "load_tokenizer",
    "merge",
    "module_names",
    "of_adapter",
    "packed_inputs",
    "packed_length",
    "positions_of",
    "read_adapter_config",
    "read_difference",
    "read_tokenizer",
    "replay",
    "resolve_folder",
    "rounding",
    "segment_sizes",
    "tapped",
    "to_logits",
    "weight_norm",
    "weights_digest",
    "with_adapter",
]
