"""Two orders as one value, relatives among models, and how much of its scale a judge uses."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest

from stratalign.judging.kinship import FAMILIES, families, kinship_warning
from stratalign.judging.pairwise import against_base, both_orders, orders_agree
from stratalign.stats import compare, spread


def test_an_answer_wins_only_where_both_orders_say_so() -> None:
    # (answer first, base first) -> value; 1 says "the first is better", so agreeing orders have opposite signs.
    expected = {(1, -1): 1, (-1, 1): -1}
    for first, second in product((-1, 0, 1), repeat=2):
        value = against_base({"Overall": first}, {"Overall": second})
        assert value == {"Overall": expected.get((first, second), 0)}
        assert orders_agree({"Overall": first}, {"Overall": second}) == {"Overall": first == -second}
        # The base in the answer's place turns the value round.
        assert against_base({"Overall": second}, {"Overall": first})["Overall"] == -value["Overall"]


def test_a_judge_that_prefers_a_place_finds_nothing() -> None:
    for place in (1, -1):
        readings = [{"Overall": place} for _ in both_orders("p", "a", "b")]
        assert against_base(*readings) == {"Overall": 0}
    one, other = both_orders("p", "same", "same")
    assert one == other
    assert both_orders("p", "a", "b")[1].responses == ("b", "a")
    with pytest.raises(ValueError, match="do not belong together"):
        against_base({"Overall": 1}, {"Safety": 1})


def test_values_against_base_give_the_net_win_rate() -> None:
    # Eight prompts: 4 wins, 1 loss, 1 tie, 1 judge that prefers the first place, 1 that decides in one order only.
    readings = [*[(1, -1)] * 4, (-1, 1), (0, 0), (1, 1), (1, 0)]
    values = [against_base({"Overall": a}, {"Overall": b})["Overall"] for a, b in readings]
    found = compare(values, [0] * 8, range(8), resamples=10)
    assert (found.wins, found.ties, found.losses, found.net_win_rate) == (4, 3, 1, 3 / 8)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("qwen3-max", ["Qwen"]),
        ("Qwen/Qwen2.5-7B", ["Qwen"]),
        ("Qwen/QwQ-32B", ["Qwen"]),
        ("meta-llama/Llama-3.1-8B", ["Llama"]),
        ("TinyLlama/TinyLlama-1.1B-Chat-v1.0", ["Llama"]),
        ("lmsys/vicuna-7b-v1.5", ["Llama"]),
        ("mistralai/Mixtral-8x7B-v0.1", ["Mistral"]),
        ("mistralai/Ministral-8B", ["Mistral"]),
        ("google/gemma-2-9b", ["Gemma and Gemini"]),
        ("gemini-2.5-pro", ["Gemma and Gemini"]),
        ("microsoft/phi-4", ["Phi"]),
        ("microsoft/Phi-3.5-mini-instruct", ["Phi"]),
        ("cognitivecomputations/dolphin-mini", []),
        ("gpt-4o-2024-08-06", ["GPT"]),
        ("chatgpt-4o-latest", ["GPT"]),
        ("openai/gpt-oss-20b", ["GPT"]),
        ("openai-community/gpt2", ["GPT"]),
        ("o3-mini", ["GPT"]),
        ("allenai/OLMo-2-1124-7B", ["OLMo"]),
        ("EleutherAI/gpt-neox-20b", ["Pythia and GPT-NeoX"]),
        ("claude-sonnet-4", ["Claude"]),
        ("deepseek-chat", ["DeepSeek"]),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", ["Qwen", "DeepSeek"]),
        ("THUDM/glm-4-9b", ["GLM"]),
        ("01-ai/Yi-34B", ["Yi"]),
        ("/home/claude/models/llama-mine", ["Llama"]),
        ("/home/claude/models/mine/", []),
        ("C:\\qwen\\mine", []),
        ("microworld", []),
        ("", []),
    ],
)
def test_families_by_name(name: str, expected: list[str]) -> None:
    assert families(name) == expected
    assert set(expected) <= set(FAMILIES)


def test_relatives_are_named() -> None:
    warning = kinship_warning("qwen3-max", "Qwen/Qwen2.5-7B")
    assert warning is not None
    assert warning.startswith(
        "The judge qwen3-max and the studied model Qwen/Qwen2.5-7B are of one family (Qwen)."
    )
    assert kinship_warning("qwen3-max", "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B")
    assert kinship_warning("gpt-4o", "Qwen/Qwen2.5-7B") is None
    assert kinship_warning("my-judge", "my-model") is None


def test_spread_by_hand() -> None:
    # Two runs on five prompts, one score missing: 5 5 5 3 1 and 5 5 4 3 -. Of nine scores five are 5, one is 1.
    nan = math.nan
    found = spread([[5, 5, 5, 3, 1], [5, 5, 4, 3, nan]], (1, 5))
    assert (found.n, found.commonest, found.uninformative) == (9, 5.0, False)
    assert found.ceiling == found.commonest_share == pytest.approx(5 / 9)
    assert found.floor == pytest.approx(1 / 9)
    # Prompts 1, 2 and 4 of the four that both runs have are ties.
    assert found.ties == pytest.approx(3 / 4)
    # 5: 5/9, 4: 1/9, 3: 2/9, 1: 1/9.
    shares = [5 / 9, 1 / 9, 2 / 9, 1 / 9]
    assert found.entropy == pytest.approx(-sum(share * math.log2(share) for share in shares))


def test_spread_flags_more_than_nine_tenths_at_one_value() -> None:
    assert not spread([[5] * 9 + [4]], (1, 5)).uninformative
    assert spread([[5] * 10 + [4]], (1, 5)).uninformative
    same = spread([[3.0] * 4], (1, 5))
    assert (same.entropy, same.ties, same.ceiling, same.uninformative) == (0.0, None, 0.0, True)
    assert spread([[1, 2, 3, 4]], (1, 4)).entropy == 2.0


def test_spread_of_nothing_and_of_scores_off_the_scale() -> None:
    none = spread(np.full((2, 3), math.nan), (1, 5))
    assert (none.n, none.ceiling, none.entropy, none.uninformative) == (0, None, None, False)
    with pytest.raises(ValueError, match="from 0 to 5"):
        spread([[0, 5]], (1, 5))
    with pytest.raises(ValueError, match="shape"):
        spread([1, 5], (1, 5))
