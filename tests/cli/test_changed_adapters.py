"""An adapter of a finished study that is swapped, flipped or emptied afterwards is proven nowhere, and used nowhere."""

import json
import re
import shutil
import subprocess
import sys

import pytest
from command_line import call, write_recipe

WEIGHTS = "adapter_model.safetensors"


@pytest.fixture(scope="module")
def finished(make_model, transcripts, tmp_path_factory):
    """A recipe and the folder of its study, of two conditions whose adapters have the same shapes."""
    folder = tmp_path_factory.mktemp("study")
    conditions = {"base": None, "mid": None, "again": {"block": "mid", "beta": 0.5}}
    file = write_recipe(folder / "tiny.yaml", make_model("llama"), transcripts, conditions=conditions)
    assert call("study", file, "--out", folder / "out").code == 0
    return file, folder / "out"


def flip(folder):
    file = folder / "mid" / WEIGHTS
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))


def swap(folder):
    shutil.copyfile(folder / "again" / WEIGHTS, folder / "mid" / WEIGHTS)


def empty(folder):
    (folder / "mid" / WEIGHTS).write_bytes(b"")


def double(folder):
    """Its tensors are the same, and its updates twice as large."""
    file = folder / "mid" / "adapter_config.json"
    settings = json.loads(file.read_text())
    file.write_text(json.dumps(settings | {"lora_alpha": 2 * settings["lora_alpha"]}))


@pytest.fixture(params=[flip, swap, empty, double], ids=lambda change: change.__name__)
def changed(request, finished, tmp_path):
    """The recipe, and a copy of its study in which mid's adapter is another one."""
    file, study = finished
    shutil.copytree(study, tmp_path / "out")
    request.param(tmp_path / "out" / "adapters")
    return file, tmp_path / "out"


def cells(page):
    """The verdict of each run in the table of proofs."""
    table = page[page.index('<table class="proof">') :]
    rows = re.findall(r'<tr><th scope="row">(\w+)</th><td>(.*?)</td>', table[: table.index("</table>")], re.S)
    return {run: re.sub(r"<[^>]*>", "", cell) for run, cell in rows}


def test_a_finished_study_is_proven_on_page_card_and_terminal(finished):
    file, study = finished
    assert call("report", study).code == 0
    assert cells((study / "report.html").read_text()) == dict.fromkeys(("base", "mid", "again"), "✓ proven")
    assert "\nProven.\n" in (study / "adapters" / "mid" / "README.md").read_text()
    assert "mid: proven\n" in call("train", file, "--out", study).out


def test_page_and_card_and_tables_say_that_it_has_changed(changed):
    _, study = changed
    assert call("report", study).code == 0
    page = (study / "report.html").read_text()
    assert cells(page) == {
        "base": "✓ proven",
        "mid": "✗ not proven: changed since it was proven",
        "again": "✓ proven",
    }
    assert re.search(r"mid: adapter_\w+\.\w+ has changed since it was trained\.", page)
    card = (study / "adapters" / "mid" / "README.md").read_text()
    assert "**Not proven: changed since it was proven.**" in card
    assert "holds" not in card[card.index("## Proof") : card.index("## Results")]
    runs = {run["run"]: run for run in json.loads((study / "results.json").read_text())["runs"]}
    assert (runs["mid"]["proven"], runs["mid"]["proof"]) == (False, "changed")
    assert (runs["again"]["proven"], runs["again"]["proof"]) == (True, "proven")
    assert json.loads((study / "recommendation.json").read_text())["train"] is None


@pytest.mark.parametrize("verb", ["train", "generate", "study"])
def test_no_stage_goes_on_with_it(changed, verb):
    file, study = changed
    done = call(verb, file, "--out", study)
    assert done.code == 1
    assert "has changed since it was trained" in done.err
    assert "delete its folder and run `stratalign train` to train it anew" in done.err


def test_it_is_not_merged_and_not_diagnosed_and_its_audit_says_so(changed, tmp_path):
    file, study = changed
    adapter = study / "adapters" / "mid"
    for arguments in (
        ("merge", adapter, "--out", tmp_path / "merged"),
        ("diagnose", "gradients", file, "--out", study, "--run", "mid"),
        ("diagnose", "deltas", file, "--out", study),
    ):
        done = call(*arguments)
        assert (done.code, "has changed since it was trained" in done.err) == (1, True), (arguments, done)
    assert not (tmp_path / "merged").exists()
    if (adapter / WEIGHTS).stat().st_size:
        assert re.search("problem: .* has changed since it was trained", call("audit", adapter).out)


def test_a_copy_outside_of_the_study_is_anyones_adapter(changed, tmp_path):
    """What was changed on purpose can be used from another place."""
    _, study = changed
    shutil.copytree(study / "adapters" / "mid", tmp_path / "mine")
    done = call("merge", tmp_path / "mine", "--out", tmp_path / "merged")
    assert "has changed" not in done.err


def test_a_deleted_adapter_is_trained_anew_and_is_the_same(finished, tmp_path):
    file, study = finished
    shutil.copytree(study, tmp_path / "out")
    before = (study / "adapters" / "mid" / WEIGHTS).read_bytes()
    shutil.rmtree(tmp_path / "out" / "adapters" / "mid")
    assert "mid: proven\n" in call("train", file, "--out", tmp_path / "out").out
    assert (tmp_path / "out" / "adapters" / "mid" / WEIGHTS).read_bytes() == before


def test_a_study_copied_without_its_adapters_can_be_reported_on(finished, tmp_path):
    _, study = finished
    shutil.copytree(study, tmp_path / "out", ignore=shutil.ignore_patterns("*.safetensors"))
    assert call("report", tmp_path / "out").code == 0
    assert cells((tmp_path / "out" / "report.html").read_text())["mid"] == "✓ proven"


def test_a_proof_that_cannot_tell_is_a_third_state_everywhere(finished, tmp_path):
    file, study = finished
    out = tmp_path / "out"
    shutil.copytree(study, out)
    manifest = json.loads((out / "manifest.json").read_text())
    proof = manifest["runs"]["mid"]["proof"]
    proof["proven"] = False
    proof["checks"]["reproduced"] = {"holds": None, "detail": "cannot be told in bfloat16: ..."}
    (out / "manifest.json").write_text(json.dumps(manifest))
    assert call("report", out).code == 0
    page = (out / "report.html").read_text()
    assert cells(page)["mid"] == "? not proven: cannot be told in this precision"
    assert "? cannot tell" in page
    card = (out / "adapters" / "mid" / "README.md").read_text()
    assert "**Not proven: cannot be told in this precision.**" in card
    assert "- reproduced: **cannot tell** (cannot be told in bfloat16" in card
    shown = call("train", file, "--out", out)
    assert shown.code == 0
    assert "mid: not proven: cannot be told in this precision\n" in shown.out
    assert "   ?   reproduced: cannot be told in bfloat16" in shown.out


def test_reading_proofs_and_hashing_adapters_loads_no_torch(changed):
    _, study = changed
    code = f"import sys, stratalign as sa; sa.report(['{study}']); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
