"""What the verbs print and leave when nothing is wrong, and the exit codes of what is no user's mistake."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from command_line import call, refusal, write_recipe
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

import stratalign as sa
from stratalign.cli.verbs import app
from stratalign.models import hushed
from stratalign.pipeline.parity import Agreement, Differences, Parity
from stratalign.recipe import Recipe

VERBS = [command.name or command.callback.__name__ for command in app.registered_commands]


@pytest.fixture(scope="module")
def finished(make_model, transcripts, tmp_path_factory):
    """A recipe, the folder of its study, and what `stratalign study` printed."""
    folder = tmp_path_factory.mktemp("study")
    file = write_recipe(folder / "tiny.yaml", make_model("llama"), transcripts)
    return file, folder / "out", call("study", file, "--out", folder / "out")


def printed(*arguments):
    """The JSON that a verb prints, and nothing else."""
    done = call(*arguments, "--json")
    assert (done.code, done.err) == (0, "")
    return json.loads(done.out)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb):
    done = call(verb, "--help")
    assert (done.code, done.err) == (0, "")
    assert f"stratalign {verb}" in done.out


def test_help_names_every_verb():
    done = call("--help")
    assert (done.code, done.err) == (0, "")
    assert all(f" {verb} " in done.out for verb in VERBS)


def test_power_learns_from_a_study_that_was_really_run(finished):
    _, folder, _ = finished
    found = printed("power", "--from", folder, "--prompts", 100)
    assert {(row["condition"], row["against"]) for row in found["observed"]} == {("mid", "base")}
    assert all((row["prompts"], row["full"]) == (4, 100) for row in found["observed"])
    assert call("power", "--from", folder).code == 0


@pytest.mark.parametrize(
    "arguments", [["plam"], ["plan"], ["plan", "x.yaml", "--sett", "a=1"], ["merge", "x"]]
)
def test_a_mistyped_command_exits_with_2(arguments):
    done = call(*arguments)
    assert done.code == 2
    assert "Traceback" not in done.err


def test_init_writes_the_defaults_of_every_key(tmp_path):
    file = tmp_path / "new" / "recipe.yaml"
    done = call("init", file, "--model", "owner/model", "--source", "owner/rows")
    assert (done.code, done.err) == (0, "")
    assert f"stratalign plan {file}" in done.out
    assert sa.load_recipe(file) == Recipe(model="owner/model", preferences={"source": "owner/rows"})
    written = yaml.safe_load(file.read_text())
    assert set(written) == set(Recipe.model_fields)
    for section in ("preferences", "partition", "training", "generation", "judge"):
        assert set(written[section]) == set(Recipe.model_fields[section].annotation.model_fields)


PAPER = {
    "preferences.source": "Anthropic/hh-rlhf",
    "preferences.train": "10,000",
    "preferences.held_out": "1,000",
    "preferences.seed": "42, for data",
    "conditions": "base, full, local, mid, global",
    "partition.method": "even",
    "training.learning_rate": "1e-5",
    "training.weight_decay": "0.01",
    "training.betas": "0.9, 0.999",
    "training.batch_size": "6",
    "training.gradient_accumulation": "4",
    "training.epochs": "1",
    "training.beta": "0.1",
    "training.loss": "DPO",
    "training.rank": "16",
    "training.alpha": "32",
    "training.dropout": "0.05",
    "training.targets": "q_proj, k_proj, v_proj, o_proj",
    "training.precision": "bfloat16",
    "training.checkpointing": "always",
    "training.max_length": "2048",
    "judge.model": "Qwen3-Max",
}
"""What Hierarchical Alignment v2 gives: section 4.1, Table 5, and the partition of its appendix A."""


def test_init_names_the_papers_value_of_every_key_that_the_paper_gives_and_of_no_other(tmp_path):
    section, comment, found = "", "", {}
    for line in sa.init(tmp_path / "recipe.yaml").read_text().splitlines()[8:]:
        if line.lstrip().startswith("#") or not line:
            comment = f"{comment} {line.strip(' #')}" if line else ""
            continue
        key, _, rest = line.strip().partition(":")
        section = key if not line.startswith(" ") else section
        said = re.findall(r"\(paper: ([^)]*)\)", f"{comment} {rest}")
        name = key if section == key else f"{section}.{key}"
        if said:
            (found[name],) = said
        comment = ""
    assert found == PAPER


def test_the_papers_value_is_named_beside_another_one_of_the_users(tmp_path):
    text = sa.init(tmp_path / "recipe.yaml", changes=["training.rank=8"]).read_text()
    assert "  rank: 8  # LoRA's rank (paper: 16)\n" in text


def test_list_names_everything_and_can_be_asked_twice():
    found = printed("list")
    every = {"partitions", "conditions", "targets", "losses", "preference_sets", "protocols", "dimensions"}
    assert set(found) == every | {"models", "refused_models", "diagnoses", "selectors"}
    assert {"even", "explicit"} <= set(found["partitions"])
    assert "sigmoid" in found["losses"]
    assert {"microworld:fluency", "microworld:minimal"} <= set(found["preference_sets"])
    assert all(about for entries in found.values() for about in entries.values())
    assert printed("list", "losses") == {"losses": found["losses"]}
    assert "explicit" in call("list").out


def test_plan_says_what_would_be_trained_and_writes_nothing(make_model, transcripts, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = write_recipe(tmp_path / "tiny.yaml", make_model("llama"), transcripts)
    planned = printed("plan", file)
    assert planned["out"] == str(Path("studies") / "tiny")
    assert planned["model"] == {
        "name": str(make_model("llama")),
        "adapter": None,
        "model_type": "llama",
        "layers": 6,
        "parameters": planned["model"]["parameters"],
        "proven": True,
        "positions": 2048,
    }
    assert planned["answers_end_at"] == {"<eos>": "end token", "\n\nHuman:": "stop text"}
    assert planned["partition"] == {"local": [0, 1], "mid": [2, 3], "global": [4, 5]}
    assert planned["preferences"]["rows"] == {"read": 35, "kept": 35, "bad": 0}
    assert planned["preferences"]["parts"]["train"]["rows"] == 6
    assert planned["steps"] == 2  # six pairs in batches of three
    assert list(planned["runs"]) == ["base", "mid"]
    # rank 4 on two layers of q and o (32 + 32 features), k and v (32 + 16): 896 parameters a layer. A layer's
    # weights are 2 x 32 x 32 + 2 x 32 x 16 + 3 x 32 x 48 = 7680; four layers of six are passed, two trained.
    of_full = {"parameters": 1 / 3, "arithmetic": (4 * 4 * 7680 + 2 * 6 * 896) / (6 * 4 * 7680 + 6 * 6 * 896)}
    assert planned["runs"]["mid"] == {
        "condition": "mid",
        "seed": 0,
        "layers": [2, 3],
        "targets": ["q_proj", "k_proj", "v_proj", "o_proj"],
        "modules": 8,
        "by_kind": {},
        "rank": 4,
        "parameters": 4 * 2 * (2 * 64 + 2 * 48),
        "of_full": of_full,
        "labels": "given",
        "phases": 1,
    }
    assert planned["runs"]["base"]["parameters"] == 0
    shown = call("plan", file)
    assert (shown.code, shown.err) == (0, "")
    assert "Blocks: local 0-1, mid 2-3, global 4-5" in shown.out
    assert "Adapters: on q_proj, k_proj, v_proj, o_proj" in shown.out
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]


def test_plan_says_how_many_passes_seeds_take_that_vary_the_order_of_the_pairs(
    make_model, transcripts, tmp_path
):
    file = write_recipe(tmp_path / "tiny.yaml", make_model("llama"), transcripts)
    seeds = ["--set", "seeds=[0, 1, 2]"]
    assert "Passes" not in call("plan", file, *seeds).out
    shown = " ".join(call("plan", file, *seeds, "--set", "seeds_vary=[init, order]").out.split())
    assert (
        "Passes: 3, one for each seed, since the seeds vary the order of the pairs. Base and prompts are computed once "
        "in each pass, not once for all runs." in shown
    )
    wrong = call("plan", file, *seeds, "--set", "seeds_vary=[ordr]")
    assert wrong.code == 2
    assert "seeds_vary: Unknown name 'ordr'. Did you mean 'order'? Known: init, order, sampling." in wrong.err


def test_plan_shows_what_is_tried_for_a_tuned_condition_and_that_it_is_not_judged(
    make_model, transcripts, tmp_path
):
    file = write_recipe(tmp_path / "tiny.yaml", make_model("llama"), transcripts)
    tune = "tune={conditions: [mid], learning_rate: [0.001, 0.002], rank: [2, 4]}"
    shown = call("plan", file, "--set", tune, "--set", "preferences.validation=4")
    assert (
        "Tuned on 4 validation rows: 4 more runs, which are trained and measured, and neither answer"
        in shown.out
    )
    assert "mid, by loss: learning_rate 0.001, 0.002; rank 2, 4; not chosen yet" in shown.out
    assert len([line for line in shown.out.splitlines() if line.startswith("mid ") and "tuned" in line]) == 1


def test_plan_prints_a_condition_for_axolotl_and_nothing_else(make_model, transcripts, tmp_path):
    file = write_recipe(tmp_path / "tiny.yaml", make_model("llama"), transcripts)
    shown = call("plan", file, "--axolotl", "mid", "--set", "training.rank=4")
    assert (shown.code, shown.err) == (0, "")
    keys = yaml.safe_load(shown.out)
    assert (keys["peft_layers_to_transform"], keys["lora_r"]) == ([2, 3], 4)
    wrong = call("plan", file, "--axolotl", "mit")
    assert wrong.code == 2
    assert "Unknown condition 'mit'. Did you mean 'mid'?" in wrong.err


def test_plan_takes_changes_and_a_folder(make_model, transcripts, tmp_path):
    file = write_recipe(tmp_path / "tiny.yaml", make_model("llama"), transcripts)
    changes = ["--set", "training.rank=2", "--set", "conditions=[full]", "--set", "model.revision=main"]
    planned = printed("plan", file, *changes, "--out", tmp_path / "elsewhere")
    assert planned["out"] == str(tmp_path / "elsewhere")
    assert {run: found["rank"] for run, found in planned["runs"].items()} == {"full": 2}


def test_a_recipe_may_share_parts_by_yaml_anchors(make_model, transcripts, tmp_path):
    file = write_recipe(tmp_path / "tiny.yaml", make_model("llama"), transcripts)
    written = yaml.safe_load(file.read_text())
    del written["conditions"]
    shared = "conditions:\n  mid: &mid {block: mid, rank: 2}\n  slow: {<<: *mid, learning_rate: 1e-4}\n"
    file.write_text(yaml.safe_dump(written) + shared)
    assert {run["rank"] for run in printed("plan", file)["runs"].values()} == {2}


def test_study_tells_its_stages_and_its_verdicts(finished):
    _, folder, done = finished
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    loss, *_ = [line for line in lines if line.startswith("training: ")]
    assert re.match(r"training: loss \d\.\d{3}, 2 of 2, [\d.]+/(s|min|h)$", loss)
    assert {"proof: 1 of 1", "report: 1 of 1"} <= set(lines)
    assert [line.split(",")[0] for line in lines if line.startswith(("generation", "divergence"))] == [
        "generation: 8 of 8",
        "divergence from the base: 8 of 8",
    ]
    assert "No verdict: the answers have not been judged." in done.out
    assert "mid        margin" in done.out
    assert "suffices" not in done.out
    assert f"Report: {folder / 'report.html'}" in done.out


@pytest.mark.parametrize(
    ("verb", "last"),
    [
        ("train", "Manifest: {}/manifest.json"),
        ("generate", "Answers: {}/responses.jsonl"),
        ("judge", "Scores: {}/scores.csv"),
    ],
)
def test_a_stage_that_is_done_is_not_done_again(finished, verb, last):
    file, folder, _ = finished
    weights = folder / "adapters" / "mid" / "adapter_model.safetensors"
    before = weights.stat().st_mtime_ns
    done = call(verb, file, "--out", folder)
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[-1] == last.format(folder)
    assert "training: " not in done.out
    assert weights.stat().st_mtime_ns == before


def test_report_writes_where_it_is_told(finished, tmp_path):
    _, folder, _ = finished
    shutil.copytree(folder, tmp_path / "copy")
    done = call("report", folder, tmp_path / "copy", "--out", tmp_path / "both.html")
    assert (done.code, done.err) == (0, "")
    assert "<html" in (tmp_path / "both.html").read_text()[:500]


def test_audit_lists_what_an_adapter_touches(finished, make_model):
    _, folder, _ = finished
    for base in ([], ["--base", make_model("llama")]):
        found = printed("audit", folder / "adapters" / "mid", *base)
        assert found["layers"] == [2, 3]
        assert found["parameters"] == 4 * 2 * (2 * 64 + 2 * 48)
        assert found["problems"] == []
        assert found["other_tensors"] == []
        assert {
            (m["layer"], m["module"].rsplit(".", 1)[-1], m["rank"], m["trained"]) for m in found["modules"]
        } == {(layer, f"{kind}_proj", 4, True) for layer in (2, 3) for kind in "qkvo"}
    shown = call("audit", folder / "adapters" / "mid")
    assert "8 modules in 2 layers (2-3), rank 4, 1,792 parameters" in shown.out


def test_a_merged_model_is_base_plus_adapter_for_stock_transformers(finished, make_model, tmp_path):
    _, folder, _ = finished
    adapter = folder / "adapters" / "mid"
    done = call("merge", adapter, "--out", tmp_path / "merged")
    assert (done.code, done.err) == (0, "")
    assert done.out == f"Model: {tmp_path / 'merged'}\n"
    ids = torch.tensor(
        [AutoTokenizer.from_pretrained(tmp_path / "merged")("How do I keep basil alive?")["input_ids"]]
    )
    with hushed(), torch.no_grad():
        merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")(ids).logits
        base = AutoModelForCausalLM.from_pretrained(make_model("llama"))
        plain = base(ids).logits
        adapted = PeftModel.from_pretrained(base, str(adapter))(ids).logits
    torch.testing.assert_close(merged, adapted, rtol=1e-5, atol=1e-5)
    assert (adapted - plain).abs().max() > 1e-3  # the adapter does something


def test_a_merge_fills_a_folder_that_is_empty(finished, tmp_path):
    _, folder, _ = finished
    (tmp_path / "empty").mkdir()
    assert call("merge", folder / "adapters" / "mid", "--out", tmp_path / "empty").code == 0
    assert (tmp_path / "empty" / "model.safetensors").is_file()
    assert "exists already" in refusal("merge", folder / "adapters" / "mid", "--out", tmp_path / "empty")


def test_a_failure_exits_with_1_and_no_traceback(finished, monkeypatch):
    def fail(*_):
        raise sa.StudyFailure("Run 'mid': the loss of pair r000003 in step 2 is nan.")

    monkeypatch.setattr("stratalign.pipeline.verbs.train_stage", fail)
    done = call("study", finished[0], "--out", finished[1])
    assert done.code == 1
    assert done.err == "Failed: Run 'mid': the loss of pair r000003 in step 2 is nan.\n"


def test_an_interruption_says_how_to_go_on(finished, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("stratalign.pipeline.verbs.train_stage", interrupt)
    done = call("study", finished[0], "--out", finished[1])
    assert done.code == 130
    assert done.err == "Interrupted: Run the same command again to continue.\n"


@pytest.mark.parametrize(
    ("update", "code", "ending"),
    [
        (
            0.045,
            0,
            "ours in float32 and ours in float64 differ by: loss 1.0e-07, log-ratio 2.0e-04 nats, update 4 %",
        ),
        (0.06, 1, "mid: update differs by 6 %, more than 5 %"),
        (0.06, 1, "Cannot tell whether the trainings agree: rounding may explain large differences"),
        (0.06, 1, "Try fewer steps: --steps 3."),
        (0.2, 1, "mid: update differs by 20 %, more than 5 %"),
        (0.2, 1, "The trainings DIFFER over 12 steps"),
    ],
)
def test_verify_prints_its_tolerances_and_what_is_beyond_them(tmp_path, monkeypatch, update, code, ending):
    found = Agreement(
        1e-6, 5e-4, update, loss_moved=0.1, update_norm=1.0, loss_scale=1.0, same_modules=True, same_tokens=True,
        noise=Differences(1e-7, 2e-4, 0.04),
    )  # fmt: skip
    monkeypatch.setattr(sa, "verify", lambda *_, **__: Parity(12, 1e-3, {"mid": found}, {}), raising=False)
    done = call("verify", tmp_path / "any.yaml")
    assert done.code == code
    assert "mid: tolerances: loss 1.0e-05, log-ratio 6.0e-04 nats, update 5 %" in done.out
    assert ending in done.out
