"""Regular expressions in an adapter's configuration: usual ones pass, those without end do not."""

import json

import pytest

from stratalign.errors import UserError
from stratalign.models.adapter_files import load_tensors, read_adapter_config
from stratalign.models.patterns import endless


@pytest.mark.parametrize(
    "pattern",
    [
        "all-linear",
        r".*\.(q_proj|v_proj)$",
        r"model\.layers\.\d+\.self_attn\.(q|k|v|o)_proj",
        r"^(?!.*vision).*(self_attn|mlp)\.[a-z]+_proj$",
        r".*layers\.(0|1|2)\..*proj",
        r"(model\.){1,2}layers\.[0-9]+\.mlp",
    ],
)
def test_what_adapters_have_is_matched(pattern):
    assert endless(pattern) is None


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        (r"([a-z_.0-9]+)+!", "repeats what repeats"),
        (r"(.*)*(.*)*x$", "repeats what repeats"),
        (r"(?:a|a)*b", "repeats what repeats or has alternatives"),
        (r"(?:(?:x+)y)+", "repeats what repeats"),
        (r"(a{1,50}){1,50}b", "repeats what repeats"),
        (r"(?=(a+)+$)", "repeats what repeats"),
        (r"(?:.+){2,}?x", "repeats what repeats"),
        (".*" * 5 + "x", "more than 4 repeats"),
        ("(", "is not a regular expression"),
        ("(" * 900 + "a" + ")" * 900, ""),
        ("a" * 3000, "longer than 2,000"),
    ],
)
def test_what_could_match_without_end_is_said_to(pattern, told):
    found = endless(pattern)
    assert told in (found or "")
    assert found is not None or not told


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (
            '{"target_modules": "([a-z_.0-9]+)+!"}',
            "has target_modules: '([a-z_.0-9]+)+!', which is not matched",
        ),
        ('{"rank_pattern": {"(x+)+": 4}}', "has rank_pattern: '(x+)+'"),
        ('{"peft_type": "PROMPT_TUNING"}', "is a PEFT adapter of type 'PROMPT_TUNING'. Only LoRA is read"),
        ('{"peft_type": ["LORA"]}', "Only LoRA is read"),
        ('{"base_model_name_or_path": ["x"]}', "base_model_name_or_path: ['x'], which must be text"),
        ("[1, 2]", "must be a mapping, got list"),
        ("[" * 100_000, "is not JSON"),
    ],
)
def test_a_configuration_that_is_not_a_lora_adapters_is_refused(tmp_path, config, told):
    (tmp_path / "adapter_config.json").write_text(config)
    with pytest.raises(UserError) as refused:
        read_adapter_config(tmp_path)
    assert told in str(refused.value)


def test_a_pickled_adapter_is_not_read(tmp_path):
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"}))
    (tmp_path / "adapter_model.bin").write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    with pytest.raises(
        UserError, match=r"adapter_model\.bin is pickled, which can run code, and is not read"
    ):
        load_tensors(tmp_path)
