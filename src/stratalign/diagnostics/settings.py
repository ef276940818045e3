"""The kinds of diagnosis, and what the recipe's `diagnostics` section may say of each."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from stratalign.diagnostics.gradients import GradientSettings
from stratalign.diagnostics.patching import PatchingSettings
from stratalign.diagnostics.probes import ProbeSettings
from stratalign.diagnostics.significance import SignificanceSettings
from stratalign.diagnostics.similarity import SimilaritySettings

KINDS = {
    "gradients": "where the gradient of each loss lies, by module, layer and block, beside plain likelihood",
    "significance": "which modules' updates the loss needs (ILA): one learned score for each",
    "similarity": "how alike layers' states are, what each layer changes, and where blocks would part",
    "probes": "at which depth what can be read off the states, beside controls",
    "patching": "at which depth a tuned model's preference is made, by exchanging states with the base",
}
"""Every kind of diagnosis, and what it tells."""


class DiagnosticsSettings(BaseModel):
    """A section for each kind."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    gradients: GradientSettings = GradientSettings()
    significance: SignificanceSettings = SignificanceSettings()
    similarity: SimilaritySettings = SimilaritySettings()
    probes: ProbeSettings = ProbeSettings()
    patching: PatchingSettings = PatchingSettings()
