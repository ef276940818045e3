"""For training elsewhere: a block as settings of PEFT, TRL and Axolotl, and a callback that watches the training."""

from stratalign.companions.callback import BlockCallback, TargetingProof
from stratalign.companions.configs import axolotl_config, lora_config

__all__ = ["BlockCallback", "TargetingProof", "axolotl_config", "lora_config"]
