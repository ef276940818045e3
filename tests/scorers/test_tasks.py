"""lm-eval's items under every run, on tasks that lie here; beside lm-eval's own evaluation of the same models."""

import json

import pytest
import torch
import yaml
from peft import PeftModel

import stratalign as sa
from stratalign.errors import UserError
from stratalign.models import ModelSettings, hushed, load_stock, load_tokenizer
from stratalign.records import read_scores

pytestmark = [pytest.mark.peer, pytest.mark.filterwarnings("default")]

ITEMS = [
    {
        "question": f"Item {i}: the sky over the {place} is",
        "choices": [" blue", " green", " black"],
        "label": i % 3,
    }
    for i, place in enumerate(("sea", "hill", "town", "road", "lake", "moor"))
]


@pytest.fixture(autouse=True)
def _installed():
    pytest.importorskip("lm_eval", reason="pip install 'stratalign[tasks]'")


@pytest.fixture
def tasks(tmp_path):
    """A folder with two tasks of six items each, and one whose only metric is no mean over items."""
    folder = tmp_path / "tasks"
    folder.mkdir()
    items = folder / "items.jsonl"
    items.write_text("".join(json.dumps(one) + "\n" for one in ITEMS))
    common = {
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(items)}},
        "test_split": "test",
        "doc_to_text": "{{question}}",
    }
    choice = {"output_type": "multiple_choice", "doc_to_choice": "{{choices}}", "doc_to_target": "label"}
    mean = {"aggregation": "mean", "higher_is_better": True}
    written = {
        "skies": {
            **common,
            **choice,
            "metric_list": [{"metric": "acc", **mean}, {"metric": "acc_norm", **mean}],
        },
        "said": {
            **common,
            "output_type": "generate_until",
            "doc_to_target": "{{choices[label]}}",
            "generation_kwargs": {"max_gen_toks": 4, "do_sample": False, "until": ["\n"]},
            "metric_list": [{"metric": "exact_match", **mean}],
        },
        "likely": {
            **common,
            "output_type": "loglikelihood",
            "doc_to_target": "{{choices[label]}}",
            "metric_list": [{"metric": "perplexity", "aggregation": "perplexity", "higher_is_better": False}],
        },
    }
    for name, one in written.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({"task": name, **one}))
    return folder


def stock(model, adapter, folder, tokenizer):
    """Accuracies of lm-eval itself on the task `skies`, the adapter loaded by PEFT."""
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    with hushed():
        loaded = load_stock(ModelSettings(base=str(model)), dtype=torch.float32, device=torch.device("cpu"))
        if adapter is not None:
            loaded = PeftModel.from_pretrained(loaded, str(adapter)).merge_and_unload()
    found = lm_eval.simple_evaluate(
        model=HFLM(pretrained=loaded.eval(), tokenizer=tokenizer, backend="causal"),
        tasks=["skies"],
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        bootstrap_iters=0,
    )
    return found["results"]["skies"]["acc,none"], found["results"]["skies"]["acc_norm,none"]


def test_items_of_every_run_are_those_of_lm_eval_and_are_asked_once(
    recipe, make_model, tasks, tmp_path, monkeypatch
):
    from stratalign.scorers import tasks as ours

    conditions = {"base": None, "full": None, "base_again": {"block": "none", "sampling_seed": 1}}
    changes = {"conditions": conditions, "scorers": [{"tasks": ["skies", "said"], "include_path": "tasks"}]}
    training = {**recipe()["training"], "learning_rate": 0.05}
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(recipe(**changes, training=training)))
    asked, ask = [], ours._ask
    monkeypatch.setattr(ours, "_ask", lambda *args: asked.append(args[3]) or ask(*args))
    folder = sa.study(file, out=tmp_path / "out")
    assert sorted(asked) == ["said", "said", "skies", "skies"]  # the base sampled anew is the base
    rows = [score for score in read_scores(folder.scores) if score.judge == "lm-eval"]
    assert {(row.protocol, row.dimension) for row in rows} == {
        ("lm-eval:skies", "acc"),
        ("lm-eval:skies", "acc_norm"),
        ("lm-eval:said", "exact_match"),
    }
    assert {row.prompt_id for row in rows if row.protocol == "lm-eval:skies"} == {
        f"skies/{i}" for i in range(6)
    }
    tokenizer = load_tokenizer(ModelSettings(base=str(make_model("llama"))))
    for run, adapter in (("base", None), ("full", folder.adapters / "full")):
        means = [
            sum(row.value for row in rows if (row.run, row.dimension) == (run, dimension)) / 6
            for dimension in ("acc", "acc_norm")
        ]
        assert means == pytest.approx(stock(make_model("llama"), adapter, tasks, tokenizer))
    values = {run: [row.value for row in rows if row.run == run] for run in conditions}
    assert values["base"] == values["base_again"] != values["full"]
    judges = json.loads(folder.judges.read_text())["judges"]
    assert [judge["protocol"] for judge in judges] == ["text", "lm-eval:skies", "lm-eval:said"]
    compared = json.loads(folder.results.read_text())["comparisons"]
    assert any(one["protocol"] == "lm-eval:skies" and one["n"] == 6 for one in compared)
    before = folder.scores.read_bytes()
    sa.judge(file, out=tmp_path / "out")
    assert len(asked) == 4
    assert folder.scores.read_bytes() == before


@pytest.mark.parametrize(
    ("scorer", "message"),
    [
        ({"tasks": ["likely"]}, "has no metric that is averaged over its items"),
        ({"tasks": ["skys"]}, "Unknown lm-eval task 'skys'"),
        ({"tasks": ["skies"], "include_path": "elsewhere"}, "There is no folder 'elsewhere'"),
    ],
)
def test_what_cannot_be_a_score_of_an_item_is_refused(recipe, tasks, tmp_path, scorer, message):
    file = tmp_path / "recipe.yaml"
    scorers = [{"include_path": "tasks", **scorer}]
    file.write_text(yaml.safe_dump(recipe(conditions=["base"], scorers=scorers)))
    with pytest.raises(UserError, match=message):
        sa.judge(file, out=tmp_path / "out")


def test_data_that_is_not_here_is_told(recipe, tasks, tmp_path):
    (tasks / "items.jsonl").unlink()
    file = tmp_path / "recipe.yaml"
    file.write_text(
        yaml.safe_dump(recipe(conditions=["base"], scorers=[{"tasks": ["skies"], "include_path": "tasks"}]))
    )
    with pytest.raises(UserError, match="Cannot load the lm-eval tasks skies"):
        sa.judge(file, out=tmp_path / "out")
