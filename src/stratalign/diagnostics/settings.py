"""The kinds of diagnosis, and what the recipe's `diagnostics` section may say of each."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from stratalign.blocks import ProfileSettings
from stratalign.diagnostics.deltas import DeltaSettings
from stratalign.diagnostics.gradients import GradientSettings
from stratalign.diagnostics.patching import PatchingSettings
from stratalign.diagnostics.probes import ProbeSettings
from stratalign.diagnostics.significance import SignificanceSettings
from stratalign.diagnostics.similarity import SimilaritySettings
from stratalign.diagnostics.weights import WeightSettings

KINDS = {
    "gradients": "where the gradient of each loss lies, by module, layer and block, beside plain likelihood",
    "significance": "which modules' updates the loss needs (ILA): one learned score for each",
    "weights": "how far each weight stands out of noise (Spectrum's signal-to-noise ratio); needs no data",
    "deltas": "how large each module's trained update is, beside its weight",
    "similarity": "how alike layers' states are, what each layer changes, and where blocks would part",
    "probes": "at which depth what can be read off the states, beside controls",
    "patching": "at which depth a tuned model's preference is made, by exchanging states with the base",
    "profile": "what training each window of layers alone does to the loss of training pairs held back",
}
"""Every kind of diagnosis, and what it tells."""


class DiagnosticsSettings(BaseModel):
    """A section for each kind."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    gradients: GradientSettings = GradientSettings()
    significance: SignificanceSettings = SignificanceSettings()
    weights: WeightSettings = WeightSettings()
    deltas: DeltaSettings = DeltaSettings()
    similarity: SimilaritySettings = SimilaritySettings()
    probes: ProbeSettings = ProbeSettings()
    patching: PatchingSettings = PatchingSettings()
    profile: ProfileSettings = ProfileSettings()
