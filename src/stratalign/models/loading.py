"""Load a base model from a folder or the hub: safetensors only, no remote code, an SFT adapter merged in.

`inspect_model` reads the configuration alone and is what plans use; `load_model` reads the weights. Both work on
a local folder, into which a hub id is resolved first. Knows nothing of conditions.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
from huggingface_hub.errors import StrictDataclassError
from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from stratalign.blocks import MOST_LAYERS, Site
from stratalign.errors import UserError, shortened
from stratalign.microworld import BASE, NAME
from stratalign.models.anatomy import Anatomy, can_stop, find_anatomy
from stratalign.models.families import (
    is_proven,
    longest_exact,
    may_pack,
    positions_of,
    refuse_config,
    refuse_structure,
)
from stratalign.models.fitting import refuse_misfit, refuse_not_finite, refuse_unusable, with_adapter
from stratalign.models.hushing import hushed
from stratalign.models.linears import list_sites
from stratalign.models.packing import check_packing, fuses
from stratalign.models.quantized import check_quantizable, quantization_config, settle
from stratalign.models.soundness import check_support
from stratalign.records import file_digest

TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model")
_TELL_TOKENIZERS_APART: tuple[Callable[[PreTrainedTokenizerBase], Any], ...] = (
    lambda tokenizer: tokenizer.get_vocab(),
    lambda tokenizer: tokenizer.chat_template,
    lambda tokenizer: (tokenizer.bos_token, tokenizer.eos_token),
)
SIZES = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "vocab_size",
    "n_layer",
    "n_head",
    "n_embd",
    "num_layers",
    "num_heads",
)
"""Keys of config.json that count parts of a model."""
WITHOUT_WEIGHTS = ["*.json", "*.model", "*.txt", "*.jinja", "tokenizer*"]
WEIGHTS = [*WITHOUT_WEIGHTS, "*.safetensors"]


class ModelSettings(BaseModel):
    """Which model a study starts from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base: str = Field(description="hub id or local folder, in safetensors; or microworld")
    revision: str | None = Field(None, description="branch, tag or commit of a hub id")
    adapter: str | None = Field(None, description="an SFT adapter (PEFT folder) that is part of the base")
    quantization: Literal["4bit"] | None = Field(
        None,
        description="4bit: linear modules of the frozen base in NF4, as QLoRA has it (needs bitsandbytes)",
    )
    double_quantization: bool = Field(
        False,
        description="with 4bit, the scales of its blocks are quantised as well (off, as in transformers)",
    )

    @model_serializer(mode="wrap")
    def _only_what_is_there(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A base in full precision is written as it was before there were others: stored studies stand."""
        written: dict[str, Any] = handler(self)
        if self.quantization is None:
            for key in ("quantization", "double_quantization"):
                written.pop(key, None)
        return written


@dataclass(frozen=True)
class ModelShape:
    """What is known of a model before its weights are loaded."""

    folder: Path
    model_type: str
    n_layers: int
    parameters: int
    sites: tuple[Site, ...]
    proven: bool
    """Whether the tests prove this model type; if not, loading decides, and rows are padded."""
    longest: int | None
    """Tokens up to which log-probabilities do not depend on the rest of the batch; None for any length."""
    positions: int | None = None
    """Tokens that it has positions for; None for any length."""
    vocabulary: int | None = None
    """Tokens that it has embeddings for."""
    ends: tuple[int, ...] = ()
    """Tokens that end its answers, by its own settings; the tokenizer's end token is another."""


@dataclass(frozen=True)
class LoadedModel:
    """A frozen base model in evaluation mode, and its parts."""

    model: PreTrainedModel
    anatomy: Anatomy
    replay_difference: float

    @property
    def packs(self) -> bool:
        """Whether batches are packed rows; if not, the architecture does not take them and rows are padded."""
        return self.anatomy.packs

    def padded(self) -> LoadedModel:
        """The same model, its batches in padded rows."""
        return replace(self, anatomy=self.anatomy._replace(packs=False))


def inspect_model(settings: ModelSettings) -> ModelShape:
    """Layers and linear modules of a model, from its configuration alone.

    Raises:
        UserError: no such model, no safetensors, an unknown or unsupported architecture.
    """
    folder = resolve_folder(settings.base, settings.revision, WITHOUT_WEIGHTS)
    here = settings.base == NAME or Path(settings.base).is_dir()
    if here:
        check_safetensors(folder)
    config = _config(folder)
    model = _from_config(config, folder)
    layers = find_anatomy(model).layers
    refuse_structure(model, layers, folder)
    if here:
        _check_use(folder, model)
    if settings.quantization is not None:
        _check_in_4_bits(settings, model)
    sites = tuple(list_sites(model))
    ends = _ends(folder, model)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    if settings.adapter is not None:
        refuse_unusable(Path(settings.adapter))
        with_adapter(model, Path(settings.adapter), settings.base)
    return ModelShape(
        folder=folder,
        model_type=config.model_type,
        n_layers=len(layers),
        parameters=parameters,
        sites=sites,
        proven=is_proven(config),
        longest=longest_exact(config),
        positions=positions_of(config),
        vocabulary=model.get_input_embeddings().weight.shape[0],
        ends=ends,
    )


def _ends(folder: Path, model: PreTrainedModel) -> tuple[int, ...]:
    """What generation ends at by generation_config.json, or by config.json where there is none."""
    settings = model.generation_config
    if (folder / "generation_config.json").is_file():
        try:
            settings = GenerationConfig.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, TypeError) as error:
            raise UserError(
                f"{folder / 'generation_config.json'} cannot be read ({_short(error)}). Correct it, or download the "
                "model again."
            ) from error
    return eos_ids(settings)


def eos_ids(settings: GenerationConfig | None) -> tuple[int, ...]:
    """The end tokens that generation settings name: none, one or a list."""
    named = getattr(settings, "eos_token_id", None)
    return tuple(named) if isinstance(named, list) else () if named is None else (named,)


def load_model(
    settings: ModelSettings, *, dtype: torch.dtype, device: torch.device, attention: str | None = None
) -> LoadedModel:
    """Load, merge the SFT adapter if there is one, freeze, check that replay is exact and whether rows can be packed.

    Raises:
        UserError: see `inspect_model`; also what `check_support` refuses.
    """
    model = load_stock(settings, dtype=dtype, device=device, attention=attention)
    model.requires_grad_(False)
    model.eval()
    anatomy = find_anatomy(model)
    refuse_structure(model, anatomy.layers, settings.base)
    difference = check_support(model, anatomy)
    kernel = check_packing(model, anatomy) if may_pack(model.config) else None
    anatomy = anatomy._replace(
        packs=kernel is not None, kernel=kernel or "segments", stops=can_stop(model, anatomy)
    )
    return LoadedModel(model, anatomy._replace(fused=fuses(model, anatomy)), difference)


def load_stock(
    settings: ModelSettings, *, dtype: torch.dtype, device: torch.device, attention: str | None = None
) -> PreTrainedModel:
    """The model as transformers and PEFT load it, its SFT adapter merged in; nothing of ours added.

    Raises:
        UserError: see `inspect_model`.
    """
    folder = resolve_folder(settings.base, settings.revision)
    _config(folder)
    if settings.quantization is not None:
        in_4_bits = quantization_config(dtype, settings.double_quantization)
        model = read_weights(
            AutoModelForCausalLM,
            folder,
            dtype=dtype,
            attention=attention,
            quantization_config=in_4_bits,
            device_map={"": device},
        )
        settle(model)
        return model
    model = read_weights(AutoModelForCausalLM, folder, dtype=dtype, attention=attention)
    if settings.adapter is not None:
        refuse_unusable(Path(settings.adapter))
        model = with_adapter(model, Path(settings.adapter), settings.base).merge_and_unload()
    if dtype == torch.float64:  # the grouped products that are transformers' default know no float64
        model.set_experts_implementation("eager")
    placed: PreTrainedModel = model.to(device)
    return placed


def read_weights(
    kind: Any,
    folder: Path,
    *,
    dtype: torch.dtype | Literal["auto"],
    attention: str | None = None,
    **options: Any,
) -> PreTrainedModel:
    """The model of a folder, as the transformers class `kind` loads it: files and model fit (`refuse_misfit`).

    Args:
        options: more arguments of transformers' `from_pretrained`.

    Raises:
        UserError: there are no safetensors, they cannot be read, or files and model do not fit.
    """
    check_safetensors(folder)
    try:
        with hushed():
            model, found = kind.from_pretrained(
                folder,
                dtype=dtype,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                attn_implementation=attention,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                **options,
            )
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        raise UserError(f"Cannot load the model in {folder}: {_short(error)}") from error
    refuse_misfit(folder, model, found)
    refuse_not_finite(dict(model.named_parameters()), f"The weights in {folder}", "Download the model again")
    filled: PreTrainedModel = model
    return filled


def load_tokenizer(settings: ModelSettings) -> PreTrainedTokenizerBase:
    """The model's own tokenizer; a padding token is never needed, since batches are padded by us.

    The SFT adapter's takes its place where one lies in the adapter's folder and has other tokens, another end token or
    another chat template: it is the one that was trained with. `name_or_path` is the folder that it is from.

    Raises:
        UserError: there is no tokenizer beside the model, or it has no end-of-sequence token.
    """
    folder = resolve_folder(settings.base, settings.revision, WITHOUT_WEIGHTS)
    tokenizer = read_tokenizer(folder)
    adapter = None if settings.adapter is None else Path(settings.adapter).expanduser()
    if adapter is not None and any((adapter / name).is_file() for name in TOKENIZER):
        own = read_tokenizer(adapter)
        own.chat_template = own.chat_template or tokenizer.chat_template
        if any(read(own) != read(tokenizer) for read in _TELL_TOKENIZERS_APART):
            tokenizer, folder = own, adapter
    if tokenizer.eos_token_id is None:
        raise UserError(
            f"The tokenizer in {folder} has no end-of-sequence token; set eos_token in its tokenizer_config.json."
        )
    return tokenizer


def of_adapter(tokenizer: PreTrainedTokenizerBase, settings: ModelSettings) -> bool:
    """Whether the model's tokenizer is the SFT adapter's, as it differs from the base's."""
    return (
        settings.adapter is not None and Path(tokenizer.name_or_path) == Path(settings.adapter).expanduser()
    )


def read_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a folder.

    Raises:
        UserError: there is none.
    """
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder, trust_remote_code=False, local_files_only=True
        )
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"Cannot load a tokenizer from {folder} ({_short(error).rstrip('.:')}). Put the tokenizer's files there: "
            "tokenizer.json and tokenizer_config.json, as its save_pretrained writes them."
        ) from error
    return tokenizer


def base_files(settings: ModelSettings) -> dict[str, str]:
    """SHA-256 of every file of weights that the base consists of, the SFT adapter's included."""
    folder = resolve_folder(settings.base, settings.revision)
    check_safetensors(folder)
    files = {
        path.name: file_digest(path)
        for path in sorted([*folder.glob("*.safetensors"), folder / "config.json"])
    }
    if settings.adapter is not None:
        adapter = Path(settings.adapter)
        files |= {f"adapter/{path.name}": file_digest(path) for path in sorted(adapter.glob("adapter_*"))}
    return files


def resolve_folder(name: str, revision: str | None, patterns: Sequence[str] = WEIGHTS) -> Path:
    """A local folder as it is, or the local snapshot of a hub id, downloaded if the hub can be reached."""
    folder = BASE if name == NAME else Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise UserError(f"{folder} is a folder without config.json, so it is no Hugging Face model.")
        return folder
    if folder.exists():
        raise UserError(
            f"The model {name!r} is a file. Give the folder that holds config.json and *.safetensors."
        )
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or (os.sep == "\\" and "\\" in name):
        raise UserError(f"The model folder {name!r} does not exist. Correct its path.")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(patterns)))
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError) as error:
        at = f" at revision {revision!r}" if revision else ""
        raise UserError(
            f"The model {name!r}{at} is neither a local folder nor to be had from the hub ({_short(error)}). "
            "Check the name, your network and HF_HUB_OFFLINE, or give a local folder."
        ) from error


def check_safetensors(folder: Path) -> None:
    """Weights are there, in files whose header fits their length; reads no tensor."""
    files = sorted(folder.glob("*.safetensors"))
    for file in files:
        try:
            with safe_open(file, framework="pt"):
                pass
        except (SafetensorError, OSError) as error:
            raise UserError(
                f"{file} is damaged or incomplete ({error}). Download the model again."
            ) from error
    if files:
        return
    pickled = sorted(
        path.name for path in [*folder.glob("*.bin"), *folder.glob("*.pt"), *folder.glob("*.pth")]
    )
    if pickled:
        raise UserError(
            f"{folder} has only pickled weights ({', '.join(pickled[:3])}), which can run code when loaded and are "
            "refused. Convert them once: load the model in a place you trust and call save_pretrained, which "
            "writes safetensors."
        )
    raise UserError(f"{folder} holds no weights: no *.safetensors file is there. Download the whole model.")


def _check_use(folder: Path, empty: PreTrainedModel) -> None:
    """The files fill the model, and the model uses all of them: told from their headers, no tensor is read.

    Without accelerate, which transformers wants for that, it is found when weights are loaded.

    Args:
        folder: the model's.
        empty: the model without weights.
    """
    if find_spec("accelerate") is None:
        return
    stored: dict[str, Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as header:
            stored |= {
                name: torch.empty(header.get_slice(name).get_shape(), device="meta")
                for name in header.keys()  # noqa: SIM118
            }
    with hushed():
        filled, found = type(empty).from_pretrained(
            None,
            config=empty.config,
            state_dict=stored,
            device_map="meta",
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    refuse_misfit(folder, filled, found)


def _check_in_4_bits(settings: ModelSettings, model: PreTrainedModel) -> None:
    check_quantizable(model, settings.base)
    if settings.adapter is not None:
        raise UserError(
            "model.adapter cannot be merged into a base in 4 bits without changing both. Merge it first "
            f"(`stratalign merge {settings.adapter} --out DIR`) and give DIR as model.base."
        )


def _config(folder: Path) -> Any:
    """The configuration of a model whose type is not refused."""
    config = read_config(folder)
    refuse_config(config, folder)
    stored = getattr(config, "quantization_config", None)
    if stored is not None and "bitsandbytes" in str(stored):
        raise UserError(
            f"The weights in {folder} are stored quantised by bitsandbytes. Give the model as it was before, and "
            "model.quantization: 4bit to hold it in 4 bits."
        )
    return config


def read_config(folder: Path) -> Any:
    """The configuration of a folder, of any type that transformers knows.

    Raises:
        UserError: it describes no model that transformers knows.
    """
    _check_sizes(folder / "config.json")
    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:  # a config may be any JSON
        kind = _model_type(folder)
        raise UserError(
            f"The model in {folder} has the model type {kind!r}, which this version of transformers does not know or "
            "which needs code of its own. Code from a model is never run; upgrade transformers or use another model."
        ) from error
    except StrictDataclassError as error:
        raise UserError(
            f"{folder / 'config.json'} describes no model ({' '.join(str(error).split()).rstrip('.')}). Correct it, "
            "or download the model again."
        ) from error


def _check_sizes(file: Path) -> None:
    """Raise a UserError where config.json has a size that no model has, or more layers than are supported."""
    try:
        written = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return  # reading the configuration says what is wrong with it
    parts = [written, *written.values()] if isinstance(written, dict) else []
    for part in parts:
        for key in SIZES if isinstance(part, dict) else ():
            value = part.get(key)
            most = MOST_LAYERS if key in ("num_hidden_layers", "n_layer", "num_layers") else 2**31
            if isinstance(value, (bool, int, float)) and not (
                isinstance(value, int) and value is not True and 0 < value <= most
            ):
                raise UserError(
                    f"{file} has {key}: {shortened(value)}, which must be a whole number from 1 to {most:,}. Correct "
                    "it, or download the model again."
                )


def empty_model(settings: ModelSettings) -> PreTrainedModel:
    """The model of a configuration without weights (meta device), of any type that transformers knows.

    Raises:
        UserError: no such model, or of an unknown type.
    """
    folder = resolve_folder(settings.base, settings.revision, WITHOUT_WEIGHTS)
    return _from_config(read_config(folder), folder)


def _from_config(config: Any, folder: Path) -> PreTrainedModel:
    try:
        with torch.device("meta"):
            model: PreTrainedModel = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except (
        ValueError,
        KeyError,
        ImportError,
        AssertionError,
        AttributeError,
        TypeError,
        ArithmeticError,
        RuntimeError,
    ) as error:
        raise UserError(
            f"The model in {folder} has the model type {config.model_type!r}, of which this version of transformers "
            f"makes no causal language model ({_short(error).rstrip('.')})."
        ) from error
    return model


def _model_type(folder: Path) -> str:
    file = folder / "config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{file} is not JSON ({error}). Download the model again.") from None
    if not isinstance(config, dict) or "model_type" not in config:
        raise UserError(f"{file} names no model_type, so it is no Hugging Face model. Download it again.")
    return str(config["model_type"])


def _short(error: BaseException) -> str:
    """The first line of a library's message, without its multi-line advice."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
