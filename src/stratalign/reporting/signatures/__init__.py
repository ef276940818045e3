"""Failure signatures: what goes wrong with preference training, as it looks in a study's records.

Each signature is one function from a `Case` to what was seen, or None, and one line in `CATALOGUE`. Thresholds are
constants that say why they lie where they lie. A signature suggests a cause; it proves none.
"""

from stratalign.reporting.signatures.case import Case, Signature
from stratalign.reporting.signatures.catalogue import CATALOGUE, find_signatures

__all__ = ["CATALOGUE", "Case", "Signature", "find_signatures"]
