"""docs/papers.md against the published figures: every number on it is computed, and the key ones are worked by hand."""

import re

import pytest

from benchmarks import papers
from benchmarks.papers import (
    LEVEL,
    PAGE,
    TEMPLATE,
    anchored,
    deviation_within,
    llama_mean,
    page,
    qwen_mean,
    rate_verdicts,
    score_verdicts,
)
from benchmarks.published import BEST, POOLED


def line(name, **options):
    return next(one for one in score_verdicts(**options) if one.claim.who == name)


def test_the_page_is_what_the_figures_give_today():
    assert PAGE.read_text(encoding="utf-8") == page()


def test_a_figure_that_changed_would_show_on_the_page(monkeypatch):
    monkeypatch.setitem(papers.BEST["Qwen2.5-7B"], "mid", 3.614)
    assert PAGE.read_text(encoding="utf-8") != page()


def test_the_prose_states_no_result_that_is_not_computed():
    prose = re.sub(r"{{.*?}}|{%.*?%}", "", TEMPLATE.read_text(encoding="utf-8"))
    places = r"arXiv:\S+|(?:Tables?|Figure|[Ss]ection|[Vv]ersion) [\d.]*\d|Qwen[\d.]+-\dB|Schuirmann 1987"
    conventions = r"95 %|80 %|at 5 %|\(2 x pooled|0\.002|0\.63|0\.37|the other 15 dimensions|above 4"
    assert re.findall(r".*\d.*", re.sub(f"{places}|{conventions}", "", prose)) == []


@pytest.mark.parametrize(
    ("strategy", "qwen", "llama"),
    [
        # (3.414 + 3.306) / 2 = 3.360; 2 x 2.765 - 3.360 = 2.170; and so on down the tables
        ("base", 3.360, 2.170),
        ("local", 3.351, 2.675),
        ("mid", 3.402, 2.602),
        ("global", 3.371, 2.245),
        ("full", 3.389, 2.745),
    ],
)
def test_the_llama_means_are_what_the_qwen_models_leave_of_the_pooled_ones(strategy, qwen, llama):
    assert qwen_mean(strategy) == pytest.approx(qwen)
    assert llama_mean(strategy) == pytest.approx(llama)
    assert (qwen_mean(strategy) + llama_mean(strategy)) / 2 == pytest.approx(POOLED[strategy].mean)


def test_the_order_of_the_pooled_means_is_the_order_on_llama_and_not_on_qwen():
    order = sorted(papers.STRATEGIES, key=lambda strategy: POOLED[strategy].mean)
    assert sorted(papers.STRATEGIES, key=llama_mean) == order
    assert sorted(papers.STRATEGIES, key=qwen_mean) != order


def test_mid_against_full_on_qwen_cannot_be_told_at_any_correlation():
    one = line("Qwen2.5-7B: mid - full")
    assert [one.cell(at) for at in range(4)] == ["cannot tell"] * 4
    # r = 0.5: sqrt((1.273^2 + 1.253^2 - 1.273 x 1.253) / 1000) = sqrt(1.595469 / 1000) = 0.0399433
    assert one.tests[2].standard_error == pytest.approx(0.0399433, abs=1e-6)
    assert one.tests[2].high == pytest.approx(0.020 + 1.959964 * 0.0399433, abs=1e-6)
    # ((1.959964 + 0.841621) x 0.0399433 / 0.020)^2 x 1000 = 31,307
    assert one.needed[2] == pytest.approx(31_307, abs=2)


def test_mid_does_not_match_full_on_llama():
    one = line("Llama: mid - full")
    assert one.claim.difference == pytest.approx(2.602 - 2.745)
    assert [one.cell(at) for at in range(4)] == ["lower*"] * 4
    assert not any(test.equivalent for test in one.tests)
    # Also if the two Llama models' answers to a prompt told no more than one.
    assert all(test.verdict == "lower" for test in line("Llama: mid - full", repeating=True).tests)


def test_a_match_on_qwen_depends_on_the_margin_and_the_correlation():
    one = line("Qwen2.5-7B: mid - full")
    # r = 0: sqrt((1.273^2 + 1.253^2) / 1000) = 0.0564844; 0.020 + 1.644854 x 0.0564844 = 0.112908 > 0.10
    assert one.tests[0].smallest_margin == pytest.approx(0.112908, abs=1e-5)
    assert [test.equivalent for test in one.tests] == [False, True, True, True]


def test_repeating_models_widen_what_is_pooled_and_nothing_else():
    pooled, single = "all: full - base", "Qwen2.5-7B: mid - base"
    ratio = line(pooled, repeating=True).tests[1].standard_error / line(pooled).tests[1].standard_error
    assert ratio == pytest.approx(2)  # four models: a design effect of 4
    assert line(single, repeating=True).tests == line(single).tests


def test_the_spread_between_models_is_taken_out_of_the_deviation():
    # base: pooled 2.765; models 3.414, 3.306, and twice 2.170: (0.649^2 + 0.541^2 + 2 x 0.595^2) / 4 = 0.355484;
    # 1.340^2 - 0.355484 = 1.440116
    assert deviation_within("base") == pytest.approx(1.440116**0.5, abs=1e-5)


def test_global_is_below_the_anchor_as_the_base_is():
    found = dict(anchored())
    # (2.808 - 3) / (1.338 / sqrt(4000)) = -9.08
    assert found["global"].difference / found["global"].standard_error == pytest.approx(-9.08, abs=0.01)
    assert {name: test.verdict for name, test in found.items()} == {
        "base": "lower",
        "local": "cannot tell",
        "mid": "cannot tell",
        "global": "lower",
        "full": "higher",
    }


def test_version_1s_rates_are_tested_with_and_without_ties():
    found = {one.claim.who: one for one in rate_verdicts()}
    # No ties: sqrt((1 - 0.03^2) / 1000) = 0.0316086, of which 0.03 is less than one; so with ties.
    assert found["coherence: mid"].tests[0].standard_error == pytest.approx(0.0316086, abs=1e-6)
    assert [found["coherence: mid"].cell(at) for at in (0, 1)] == ["cannot tell"] * 2
    # sqrt((1 - 0.35 - 0.12^2) / 1000) = 0.0252111
    assert found["coherence: full"].tests[1].standard_error == pytest.approx(0.0252111, abs=1e-6)
    assert [found["coherence: full"].cell(at) for at in (0, 1)] == ["lower*"] * 2
    assert [found["grammar: global - full"].cell(at) for at in (0, 1)] == ["cannot tell"] * 2


def test_the_figures_are_the_ones_that_the_paper_prints():
    assert [POOLED[s].mean for s in papers.STRATEGIES] == [2.765, 3.013, 3.002, 2.808, 3.067]
    assert [POOLED[s].deviation for s in papers.STRATEGIES] == [1.340, 1.269, 1.273, 1.338, 1.253]
    ranked = sorted((mean for model in BEST.values() for mean in model.values()), reverse=True)
    assert ranked == [3.534, 3.514, 3.462, 3.414, 3.413, 3.329, 3.306, 3.270, 3.264, 3.240]
    # No Llama run can have been above the tenth: their means are below it.
    assert max(map(llama_mean, papers.STRATEGIES)) < ranked[-1]
    assert LEVEL == 0.95
