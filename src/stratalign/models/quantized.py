"""A frozen base in 4 bits, as QLoRA has it (Dettmers et al., arXiv:2305.14314), through transformers and bitsandbytes.

Linear modules keep NF4 codes in place of weights and make the weights anew whenever they run; embeddings, norms and the
head stay as they are. Adapters on them are plain LoRA, and the effective weight is the one that the codes stand for.
bitsandbytes is imported where it is needed, since it comes with the extra `quantized` alone.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from transformers import BitsAndBytesConfig, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from stratalign.errors import UserError

NEEDED = ("bitsandbytes", "accelerate")


def check_quantizable(model: PreTrainedModel, name: object) -> None:
    """Whether a model, which may be without weights, can be held in 4 bits here.

    Raises:
        UserError: a package is missing, or the model has linear modules that bitsandbytes would turn around.
    """
    missing = [package for package in NEEDED if find_spec(package) is None]
    if missing:
        raise UserError(
            f"model.quantization: 4bit needs {' and '.join(missing)}. Install it with "
            "`pip install 'stratalign[quantized]'`, or leave quantization out."
        )
    if any(isinstance(module, Conv1D) for module in model.modules()):
        raise UserError(
            f"The model in {name} keeps its weights transposed, as GPT-2 does, and cannot be held in 4 bits. Leave "
            "model.quantization out."
        )


def quantization_config(dtype: torch.dtype, double: bool) -> BitsAndBytesConfig:
    """NF4 in blocks of 64 weights, which compute in `dtype`; `double` quantises the blocks' scales as well.

    Raises:
        UserError: float64, in which bitsandbytes does not compute.
    """
    if dtype == torch.float64:
        raise UserError("A base in 4 bits does not compute in float64. Set training.precision: float32.")
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=double,
        bnb_4bit_compute_dtype=dtype,
    )


def settle(model: PreTrainedModel) -> None:
    """Keep the codes as they are: on some processors an evaluation without gradients would reorder them for good,
    and passes with gradients would then get none."""
    for module in model.modules():
        if is_quantized(module):
            module.support_avx512bf16_for_cpu = False


def is_quantized(module: nn.Module) -> bool:
    """Whether a module's weight is held in 4 bits."""
    return getattr(getattr(module, "weight", None), "quant_state", None) is not None


def plain_weight(module: nn.Module) -> Tensor:
    """A linear module's weight [out, in], from its codes where it is held in 4 bits. Not an adapter's."""
    weight: Any = module.weight
    if not is_quantized(module):
        return weight  # type: ignore[no-any-return]
    from bitsandbytes.functional import dequantize_4bit

    found: Tensor = dequantize_4bit(weight.data, weight.quant_state)
    return found


def scales(weight: Tensor) -> dict[str, Tensor]:
    """What a weight in 4 bits consists of beside its codes, by name; nothing for any other."""
    state: Any = getattr(weight, "quant_state", None)
    if state is None:
        return {}
    found = {name: value for name, value in state.as_dict().items() if isinstance(value, Tensor)}
    return dict(sorted(found.items()))


@torch.no_grad()
def dequantize(model: PreTrainedModel) -> PreTrainedModel:
    """The same model, its codes replaced by the weights that they stand for; changes it in place."""
    for name, module in list(model.named_modules()):
        if is_quantized(module):
            weight = plain_weight(module)
            plain = nn.Linear(
                weight.shape[1], weight.shape[0], bias=False, device=weight.device, dtype=weight.dtype
            )
            plain.weight = nn.Parameter(weight, requires_grad=False)
            plain.bias = getattr(module, "bias", None)  # type: ignore[assignment]
            model.set_submodule(name, plain)
    # what transformers and PEFT know a quantised model by
    for attribute in ("hf_quantizer", "quantization_method", "is_loaded_in_4bit", "is_quantized"):
        model.__dict__.pop(attribute, None)
    del model.config.quantization_config
    return model
