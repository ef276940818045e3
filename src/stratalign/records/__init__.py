"""What each stage of a study leaves on disk: the folder, its files, and how they are written and read.

Every stage communicates with the next through these records alone, so that a study can be interrupted at any
byte, inspected with ordinary tools and reported on a machine without a model. Knows nothing of models,
statistics or pages.
"""

from stratalign.records.cells import guarded_cell, restored_cell
from stratalign.records.files import locked, read_json, told, unwritable, write_bytes, write_json, write_text
from stratalign.records.folder import SAFE_NAME, SCHEMA, StudyFolder
from stratalign.records.foreign import refuse_foreign, refuse_link, refuse_links
from stratalign.records.keys import SEEDS_VARY, VARIES, digest, file_digest, keyed_seed
from stratalign.records.kinds import (
    Dimension,
    LogProbRecord,
    Progress,
    Response,
    Score,
    StepRecord,
    duration,
    silent,
)
from stratalign.records.lines import append_jsonl, keep_jsonl, read_jsonl
from stratalign.records.proofs import (
    STANDINGS,
    Outcome,
    Standing,
    adapter_digests,
    changed_files,
    outcome_of,
    refuse_changed,
    standing_of,
)
from stratalign.records.replacing import replacing_folder
from stratalign.records.strict_yaml import StrictLoader, read_mapping
from stratalign.records.table import read_scores, write_scores

__all__ = [
    "SAFE_NAME",
    "SCHEMA",
    "SEEDS_VARY",
    "STANDINGS",
    "VARIES",
    "Dimension",
    "LogProbRecord",
    "Outcome",
    "Progress",
    "Response",
    "Score",
    "Standing",
    "StepRecord",
    "StrictLoader",
    "StudyFolder",
    "adapter_digests",
    "append_jsonl",
    "changed_files",
    "digest",
    "duration",
    "file_digest",
    "guarded_cell",
    "keep_jsonl",
    "keyed_seed",
    "locked",
    "outcome_of",
    "read_json",
    "read_jsonl",
    "read_mapping",
    "read_scores",
    "refuse_changed",
    "refuse_foreign",
    "refuse_link",
    "refuse_links",
    "replacing_folder",
    "restored_cell",
    "silent",
    "standing_of",
    "told",
    "unwritable",
    "write_bytes",
    "write_json",
    "write_scores",
    "write_text",
]
