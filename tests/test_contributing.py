"""CONTRIBUTING.md: its examples do what it says, and its table names all tests."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import yaml

import stratalign as sa
from stratalign import losses
from stratalign.losses import Loss, Objective, preference_loss
from stratalign.recipe import parse_recipe

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.M | re.S)


def test_the_loss_can_be_entered_as_the_page_says(monkeypatch):
    code, _ = blocks("python")
    entry = re.search(r'`"squared_hinge": (Loss\(.*?\)\))`', PAGE)
    assert entry is not None
    exec(code, vars(losses))
    monkeypatch.setitem(losses.LOSSES, "squared_hinge", eval(entry[1], vars(losses)))
    assert isinstance(losses.LOSSES["squared_hinge"], Loss)
    # margin 2 - (-3) = 5, so 1 - 0.1 x 5 = 0.5, squared 0.25
    policy, reference = torch.tensor([[-3.0, -7.0]]), torch.tensor([[-5.0, -4.0]])
    found = preference_loss(policy, reference, torch.tensor([[4, 6]]), Objective("squared_hinge"))
    assert found.loss.tolist() == pytest.approx([0.25])
    del losses.squared_hinge


def test_the_partition_is_one(tmp_path, monkeypatch):
    _, code = blocks("python")
    (tmp_path / "my_lab.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    assert '`partition: {method: "my_lab:edges"}`' in PAGE
    assert sa.partition(6, "my_lab:edges") == {"outer": (0, 1, 4, 5), "inner": range(2, 4)}


def test_the_record_chooses_the_modules_that_the_page_says(recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (record,), (conditions,) = blocks("json"), blocks("yaml")
    Path("my_record.json").write_text(record)
    planned = sa.plan(parse_recipe(recipe(**yaml.safe_load(conditions))), out=tmp_path / "out")
    (chosen,) = (run for run in planned.runs if run.condition.name == "chosen")
    assert set(chosen.condition.modules) == {
        "model.layers.0.self_attn.v_proj",
        "model.layers.1.self_attn.q_proj",
    }


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ("[]", "is not a record: it has no `scores`"),
        ('{"scores": [1]}', "is not a record"),
        ('{"scores": {"mine": [1, 2]}}', "scores.mine must have a number for each module, got list"),
        ('{"scores": {"mine": {"a": "1"}}}', "scores.mine.a must be a finite number, got '1'"),
        ('{"scores": {"mine": {"a": true}}}', "scores.mine.a must be a finite number, got True"),
        ('{"scores": {"mine": {"a": NaN}}}', "scores.mine.a must be a finite number, got nan"),
        ('{"scores": {"mine": {"a": 1}}}', "names a, which takes no adapter here"),
        ('{"scores": {}}', "has no numbers for modules to be chosen by"),
    ],
)
def test_a_record_of_ones_own_that_cannot_be_used_is_refused(recipe, tmp_path, monkeypatch, record, said):
    monkeypatch.chdir(tmp_path)
    Path("my_record.json").write_text(record)
    asked = recipe(conditions={"base": None, "chosen": {"by": "my_record.json", "keep": 0.5}})
    with pytest.raises(sa.UserError) as caught:
        sa.plan(parse_recipe(asked), out=tmp_path / "out")
    assert said in str(caught.value)


def test_the_table_names_every_folder_of_tests_and_nothing_that_is_not_there():
    table = PAGE.partition("### Which tests")[2].partition("## Adding")[0]
    named = set(re.findall(r"tests/[\w/.]+", table))
    assert all((ROOT / path).exists() for path in named)
    folders = {path.parent for path in (ROOT / "tests").glob("*/test_*.py")}
    assert {str(folder.relative_to(ROOT)) for folder in folders} <= named
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.M)
    assert set(re.findall(r"`make ([a-z-]+)", PAGE)) <= set(targets)
