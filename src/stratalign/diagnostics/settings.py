"""The kinds of diagnosis, and what the recipe's `diagnostics` section may say of each."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from stratalign.blocks import ProfileSettings
from stratalign.diagnostics.gradients import GradientSettings
from stratalign.diagnostics.significance import SignificanceSettings

KINDS = {
    "gradients": "where the gradient of each loss lies, by module, layer and block, beside plain likelihood",
    "significance": "which modules' updates the loss needs (ILA): one learned score for each",
    "profile": "what training each window of layers alone does to the loss of training pairs held back",
}
"""Every kind of diagnosis, and what it tells."""


class DiagnosticsSettings(BaseModel):
    """A section for each kind."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    gradients: GradientSettings = GradientSettings()
    significance: SignificanceSettings = SignificanceSettings()
    profile: ProfileSettings = ProfileSettings()
