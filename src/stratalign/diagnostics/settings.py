"""The kinds of diagnosis, and what the recipe's `diagnostics` section may say of each."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from stratalign.diagnostics.deltas import DeltaSettings
from stratalign.diagnostics.gradients import GradientSettings
from stratalign.diagnostics.significance import SignificanceSettings
from stratalign.diagnostics.weights import WeightSettings

KINDS = {
    "gradients": "where the gradient of each loss lies, by module, layer and block, beside plain likelihood",
    "significance": "which modules' updates the loss needs (ILA): one learned score for each",
    "weights": "how far each weight stands out of noise (Spectrum's signal-to-noise ratio); needs no data",
    "deltas": "how large each module's trained update is, beside its weight",
}
"""Every kind of diagnosis, and what it tells."""


class DiagnosticsSettings(BaseModel):
    """A section for each kind."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    gradients: GradientSettings = GradientSettings()
    significance: SignificanceSettings = SignificanceSettings()
    weights: WeightSettings = WeightSettings()
    deltas: DeltaSettings = DeltaSettings()
