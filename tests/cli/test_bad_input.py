"""Every mistake of a user, given to the real command line: exit code 2, one message that says what to do, and
nothing lost, overwritten or left behind."""

import errno
import gzip
import itertools
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from command_line import call, refusal, snapshot, write_recipe

import stratalign as sa


def only_short(value):
    """Names a parametrised case by its short texts."""
    return value if isinstance(value, str) and len(value) < 40 else ""


@pytest.fixture(autouse=True)
def _offline_in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture
def recipe(tmp_path, make_model, transcripts):
    """`recipe(seeds=[0, 0])` writes recipe.yaml, sound but for the changes."""

    def write(model=None, source=transcripts, **changes):
        preferences = changes.pop("preferences", {})
        given = preferences if not isinstance(preferences, dict) else {"source": str(source)} | preferences
        base = make_model("llama") if model is None else model
        return write_recipe(tmp_path / "recipe.yaml", base, source, preferences=given, **changes)

    return write


@pytest.fixture
def model_copy(tmp_path, make_model):
    """A copy of the tiny model to damage: `model_copy({"model_type": "x"}, without=["*.safetensors"])`."""

    def copy(config=None, without=()):
        folder = tmp_path / "model"
        shutil.copytree(make_model("llama"), folder)
        for pattern in without:
            for file in folder.glob(pattern):
                file.unlink()
        file = folder / "config.json"
        if config:
            file.write_text(json.dumps(json.loads(file.read_text()) | config))
        return folder

    return copy


@pytest.mark.parametrize("verb", ["plan", "study"])
def test_a_users_own_function_that_fails_is_told_without_a_traceback(recipe, tmp_path, monkeypatch, verb):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / f"lab_{verb}.py").write_text(
        "def parts(n_layers, blocks):\n    return blocks['a']\n\n\ndef score(prompts, responses):\n    return 3\n"
    )
    file = recipe(partition={"method": f"lab_{verb}:parts"})
    told = refusal(verb, file)
    assert f"The partition 'lab_{verb}:parts' raised TypeError" in told
    assert f"(lab_{verb}.py, line 2: return blocks['a'])" in told
    assert_left_nothing()
    file = recipe(scorers=[{"function": f"lab_{verb}:score"}], generation={"max_new_tokens": 4})
    if verb == "study":
        told = refusal(verb, file)
        assert f"The scorer 'lab_{verb}:score' (score) returned int. Return a list" in told
        assert f"The function is in lab_{verb}.py, line 5." in told


@pytest.fixture(scope="module")
def finished(make_model, transcripts, tmp_path_factory):
    """A recipe and the finished study that it gave; tests may look at it only."""
    folder = tmp_path_factory.mktemp("finished")
    file = write_recipe(folder / "recipe.yaml", make_model("llama"), transcripts)
    return file, sa.study(file, out=folder / "study").path


def assert_left_nothing(*allowed):
    """Neither a study's folder nor the probe that tries whether one could be written."""
    assert [str(path) for path in Path().glob("studies/*/*")] == list(allowed)
    assert Path("studies").exists() == bool(allowed)
    assert not list(Path().glob(".stratalign*"))


BAD_RECIPES = {
    "unknown key": ({"modle": "x"}, "Unknown key 'modle'. Did you mean 'model'? Known: model, preferences,"),
    "unknown nested key": (
        {"training": {"learning_rte": 1}},
        "Unknown key 'training.learning_rte'. Did you mean 'learning_rate'? Known: learning_rate, schedule,",
    ),
    "unknown key of a condition": (
        {"conditions": {"mid": {"block": "mid", "rnk": 2}}},
        "Unknown key conditions.mid 'rnk'. Did you mean 'rank'? Known: block,",
    ),
    "unknown block": (
        {"conditions": ["base", "md"]},
        "'md'. Did you mean 'mid'? Known: full, none, local, mid",
    ),
    "layer 99": (
        {"conditions": {"x": {"layers": [99]}}},
        "'x' names layer 99, but the model has 6 layers, 0 to 5",
    ),
    "negative layer": ({"conditions": {"x": {"layers": [-1]}}}, "-1 is no layer. Write 3, '0-10'"),
    "negative rank": (
        {"training": {"rank": -1}},
        "training.rank: Input should be greater than or equal to 1, got -1",
    ),
    "negative rank of a condition": (
        {"conditions": {"x": {"block": "mid", "rank": -4}}},
        "mistake. conditions.x.rank: Input should be greater than or equal to 1, got -4.",
    ),
    "a selector's name": (
        {"conditions": ["base", {"random-1": {"block": "mid"}}], "selectors": {"by": ["even"]}},
        "mistake. The condition random-1 has the name of one that `selectors` makes",
    ),
    "record without its file": (
        {"conditions": {"x": {"by": "weights", "keep": 0.25}}},
        "Unknown record 'weights'. Did you mean 'diagnostics/weights.json'? Known: diagnostics/gradients.json",
    ),
    "record outside the folder of records": (
        {"conditions": {"x": {"by": "gradient.json", "keep": 0.25}}},
        "Did you mean 'diagnostics/gradients.json'?",
    ),
    "partition by a record without its file": (
        {"partition": {"method": "record", "by": "similarity", "blocks": ["local", "mid", "global"]}},
        "Did you mean 'diagnostics/similarity.json'?",
    ),
    "names that differ in case": (
        {"conditions": ["mid", {"Mid": {"block": "mid"}}]},
        "'Mid' is named beside 'mid'",
    ),
    "name that leaves the folder": (
        {"conditions": {"../x": {"block": "mid"}}},
        "'../x' cannot name a condition",
    ),
    "no conditions": ({"conditions": []}, "`conditions` is empty. The paper's five are [base, full, local"),
    "one seed twice": (
        {"seeds": [0, 0]},
        "seeds must be distinct whole numbers from 0, at least one, got [0, 0]",
    ),
    "no seeds": ({"seeds": []}, "seeds must be distinct whole numbers from 0, at least one, got []"),
    "unknown target": (
        {"training": {"targets": ["q_prj"]}},
        "'q_prj'. Did you mean 'q_proj'? Known: q_proj, k_proj",
    ),
    "unknown loss": ({"training": {"loss": "sigmod"}}, "unknown loss 'sigmod'; known: sigmoid"),
    "unknown judge": (
        {"judge": {"protocol": "txt"}},
        "Unknown judging protocol 'txt'. Did you mean 'text'? Known:",
    ),
    "unknown partition": (
        {"partition": {"method": "evn"}},
        "'evn'. Did you mean 'even'? Known: even, explicit",
    ),
    "more blocks than layers": ({"partition": {"blocks": 99}}, "6 layers do not suffice for 99 blocks"),
    "no training pairs": (
        {"preferences": {"train": 0}},
        "preferences.train: Input should be greater than or equal to 1, got 0.",
    ),
    "no held-out pairs": (
        {"preferences": {"held_out": 0}},
        "held_out is 0, but the proof and the verdict need",
    ),
    "too few rows": (
        {"preferences": {"train": 900}},
        "and train: 900, but {source} has 35 usable rows in 28 clusters (rows that open with the same human turn "
        "stay together). These work: held_out: ",
    ),
    "only one optimizer step": (
        {"training": {"batch_size": 99}},
        "The training of condition 'mid' has 1 step",
    ),
    "preferences as a text": ({"preferences": "x.jsonl"}, "preferences: Input should be a valid dictionary"),
    "home of nobody": (
        {"preferences": {"source": "~nobody-here/x.jsonl"}},
        "'~nobody-here/x.jsonl' cannot be a path",
    ),
}


@pytest.mark.parametrize("kind", BAD_RECIPES)
def test_a_recipe_with_a_mistake_is_refused(kind, recipe, transcripts):
    changes, words = BAD_RECIPES[kind]
    assert words.replace("{source}", str(transcripts)) in refusal("plan", recipe(**changes))
    assert_left_nothing()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model: [", "recipe.yaml is not YAML: while parsing"),
        ("- model\n- preferences\n", "must be a mapping of keys such as model and preferences, got list"),
        ("", "must be a mapping of keys such as model and preferences, got NoneType"),
        ("model: a\nmodel: b\n", "key 'model' is given twice"),
        ("training: {rank: 1, rank: 2}\n", "key 'rank' is given twice"),
        ("[1, 2]: 3\n", "[1, 2] cannot be a key"),
        ("seeds: [0]\n", "model is missing. Every recipe needs model and preferences.source."),
        ("model: a\npreferences: {}\n", "preferences.source is missing"),
        ("model: !!python/object/apply:os.getcwd []\n", "could not determine a constructor"),
    ],
    ids=only_short,
)
def test_a_file_that_is_no_recipe_is_refused(tmp_path, text, words):
    file = tmp_path / "recipe.yaml"
    file.write_text(text)
    assert words in refusal("plan", file)
    assert_left_nothing()


def test_bytes_that_are_no_text_are_refused_as_a_recipe(tmp_path):
    (tmp_path / "recipe.yaml").write_bytes(b"\xff\xfe\x00model")
    assert "is not YAML" in refusal("plan", tmp_path / "recipe.yaml")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            "training.rank",
            "--set takes key.path=value, got 'training.rank'. Example: --set training.learning_rate=",
        ),
        ("=3", "--set takes key.path=value"),
        ("training.rnk=3", "Unknown key 'training.rnk'. Did you mean 'rank'?"),
        ("trainin.rank=3", "Unknown key 'trainin'. Did you mean 'training'?"),
        ("training.rank=many", "training.rank: Input should be a valid integer"),
        ("training.rank=[", "--set training.rank: '[' is not a YAML value"),
        ("model.base.deeper=3", "base is '"),
        ("conditions.mid.rank=3", "conditions is ['base', 'mid'] in the recipe, which has no keys below it"),
        ("training.betas=[0.9]", "training.betas.1 is missing."),
    ],
    ids=only_short,
)
def test_a_bad_change_is_refused(recipe, change, words):
    assert words in refusal("plan", recipe(), "--set", change)
    assert_left_nothing()


def test_missing_things_are_named_with_what_to_do(recipe, tmp_path):
    assert "`stratalign init no.yaml` writes one to start from" in refusal("plan", "no.yaml")
    assert "Cannot read the recipe recipe.yaml/no.yaml: Not a directory" in refusal(
        "plan", recipe().relative_to(tmp_path) / "no.yaml"
    )
    assert "is a folder. Give the recipe file" in refusal("plan", tmp_path)
    assert "There is no file or folder no.jsonl (looked in" in refusal("plan", recipe(source="no.jsonl"))
    assert "The model folder './no' does not exist" in refusal("plan", recipe(model="./no"))
    assert "is a file. Give the folder that holds config.json" in refusal("plan", recipe(model=recipe()))
    assert_left_nothing()


def test_a_name_that_no_disk_takes_is_refused(recipe):
    # longer than the 255 bytes that file systems allow; some Pythons raise where others say that it does not exist
    refusal("plan", recipe(model="./" + "x" * 300))
    refusal("plan", recipe(source="x" * 300))
    refusal("plan", recipe(), "--out", "x" * 300)
    assert_left_nothing()


def test_hub_ids_are_refused_while_offline(recipe, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    for model in ("nobody/no-model", "no-model"):
        message = refusal("plan", recipe(model=model))
        assert f"The model '{model}' is neither a local folder nor to be had from the hub" in message
        assert "Check the name, your network and HF_HUB_OFFLINE, or give a local folder." in message
    message = refusal("plan", recipe(source="nobody/no-data"))
    assert "Cannot load nobody/no-data from the hub" in message
    assert "download it and give the file's path" in message
    assert_left_nothing()


@pytest.fixture
def rows(transcripts):
    return transcripts.read_bytes()


@pytest.mark.parametrize(
    ("name", "damage", "words"),
    [
        ("cut.jsonl.gz", lambda rows: gzip.compress(rows)[:2000], "is damaged or incomplete: after line "),
        ("text.jsonl.gz", lambda rows: rows, "Download or copy it again"),
        ("empty.jsonl", lambda _: b"", "has no rows. Give a source with at least one preference pair."),
        ("empty.jsonl.gz", lambda _: b"", "has no rows. Give a source with at least one preference pair."),
        ("blank.jsonl", lambda _: b"\n \n", "has no rows. Give a source with at least one preference pair."),
        ("empty.parquet", lambda _: b"", "is not a readable parquet file"),
        ("rows.txt", lambda rows: rows, "Cannot tell what kind of file"),
        ("few.jsonl", lambda rows: b"".join(rows.splitlines(True)[:5]), "has 5 usable rows in 3 clusters"),
    ],
    ids=only_short,
)
def test_a_file_that_cannot_be_read_as_preferences_is_refused(recipe, tmp_path, rows, name, damage, words):
    (tmp_path / name).write_bytes(damage(rows))
    message = refusal("plan", recipe(source=tmp_path / name))
    assert words in message
    assert str(tmp_path / name) in message
    assert_left_nothing()


@pytest.mark.parametrize(
    ("damage", "words", "bad"),
    [
        (
            lambda _: b'{"question": "a", "good": "b", "bad": "c"}\n' * 3,
            "every one misses a column (3 missing column: chosen (lines 1, 2, 3)). Columns found: question, good, bad.",
            3,
        ),
        (lambda _: b"{oops\n" * 5, "None of the 5 rows of", 5),
        (lambda _: b"1\n[]\n", "2 not an object", 2),
        (lambda _: b'{"prompt": "\xe9"}\n', "not UTF-8 (line 1)", 1),
        # 4 of 39 rows are 10.3 %
        (lambda rows: rows + b"{oops\n" * 4, "(10.3%; preferences.max_bad allows 5.0%): 4 not JSON", 4),
    ],
    ids=only_short,
)
def test_bad_rows_stop_the_study_and_are_listed(recipe, tmp_path, rows, damage, words, bad):
    source = tmp_path / "rows.jsonl"
    source.write_bytes(damage(rows))
    message = refusal("plan", recipe(source=source))
    assert words in message
    listed = "studies/recipe/bad_rows.jsonl"
    assert f"They are listed in {listed}." in message
    assert len(Path(listed).read_text().splitlines()) == bad
    assert_left_nothing(listed)


@pytest.mark.parametrize(
    ("config", "without", "words"),
    [
        (
            {"model_type": "quantumformer"},
            [],
            "has the model type 'quantumformer', which this version of transformers",
        ),
        (
            {
                "model_type": "mine",
                "auto_map": {"AutoConfig": "mine.Config", "AutoModelForCausalLM": "mine.Model"},
            },
            [],
            "Code from a model is never run; upgrade transformers or use another model.",
        ),
        (
            {"model_type": "t5"},
            [],
            "the model type 't5', which is not supported: it is an encoder with a decoder",
        ),
        (
            {
                "rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0},
                "max_position_embeddings": 64,
            },
            [],
            "Set training.max_length to 64 or less",
        ),
        ({"model_type": "clip"}, [], "of which this version of transformers makes no causal language model"),
        ({"num_attention_heads": 5, "head_dim": None}, [], "config.json describes no model"),
        ({"num_hidden_layers": "six"}, [], "config.json describes no model"),
        (
            {"num_hidden_layers": 0},
            [],
            "config.json has num_hidden_layers: 0, which must be a whole number from 1 to 1,000",
        ),
        (None, ["config.json"], "is a folder without config.json"),
        (None, ["*.safetensors"], "holds no weights: no *.safetensors file is there"),
        (None, ["tokenizer*", "special_tokens*"], "Put the tokenizer's files there: tokenizer.json"),
        (
            None,
            ["tokenizer_config.json"],
            "no end-of-sequence token; set eos_token in its tokenizer_config.json",
        ),
    ],
    ids=only_short,
)
def test_a_model_that_cannot_be_used_is_refused_before_anything_is_written(
    recipe, model_copy, config, without, words
):
    folder = model_copy(config, without)
    message = refusal("study", recipe(model=folder))
    assert words in message
    assert str(folder) in message or "LlamaForCausalLM" in message
    assert_left_nothing()


@pytest.mark.parametrize("content", ["{oops", "[]", "{}"])
def test_a_config_that_is_none_is_refused(recipe, model_copy, content):
    folder = model_copy()
    (folder / "config.json").write_text(content)
    assert f"{folder / 'config.json'} " in refusal("plan", recipe(model=folder))
    assert_left_nothing()


def test_pickled_weights_are_refused(recipe, model_copy):
    folder = model_copy(without=["*.safetensors"])
    (folder / "pytorch_model.bin").write_bytes(b"never opened")
    message = refusal("plan", recipe(model=folder))
    assert "has only pickled weights (pytorch_model.bin), which can run code when loaded" in message
    assert "call save_pretrained, which writes safetensors" in message
    assert_left_nothing()


def test_weights_that_were_cut_off_are_refused(recipe, model_copy):
    folder = model_copy()
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert f"{weights} is damaged or incomplete" in refusal("plan", recipe(model=folder))
    assert_left_nothing()


@pytest.mark.parametrize(
    ("config", "tensors"), [({"num_hidden_layers": 8}, 18), ({"intermediate_size": 64}, 18)]
)
def test_weights_that_do_not_fill_the_model_are_refused(recipe, model_copy, config, tensors):
    # two more layers of seven matrices and two norms; six layers of three matrices of another width
    folder = model_copy(config)
    message = refusal("study", recipe(model=folder))
    assert (
        f"do not fill the model that its config.json describes: {tensors} tensors are missing or have"
        in message
    )


def test_a_folder_that_cannot_be_written_is_refused(recipe, tmp_path, monkeypatch):
    file = recipe()
    before = file.read_bytes()
    for below in (file, file / "study", file / "deep" / "study"):
        assert f"Cannot write to {below}: {file} is a file. Name another folder" in refusal(
            "plan", file, "--out", below
        )
    assert file.read_bytes() == before
    real = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode, **more: Path(path) != tmp_path and real(path, mode, **more)
    )
    message = refusal("study", file, "--out", tmp_path / "study")
    assert f"Cannot write to {tmp_path}: permission denied. Name another folder with --out." in message
    assert_left_nothing()


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="/proc is Linux's")
def test_a_file_system_that_takes_no_files_is_refused(recipe):
    assert "Cannot write /proc" in refusal("plan", recipe(), "--out", "/proc/nope")
    assert "Cannot write /proc/nope.yaml" in refusal("init", "/proc/nope.yaml")


@pytest.mark.parametrize("verb", ["plan", "study"])
@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (
            "training.learning_rate=2e-3",
            # two layers of four modules
            "run mid@0: phases.0.learning_rate.model.layers.2.self_attn.q_proj (and 7 more) was 0.001, now 0.002",
        ),
        ("preferences.seed=7", "preferences: seed was 42, now 7"),
        ("generation.temperature=0.1", "generation: temperature was 0.7, now 0.1"),
        ("training.batch_size=2", "training: batch_size was 3, now 2"),
    ],
    ids=only_short,
)
def test_a_change_that_would_make_results_stale_is_refused(finished, verb, change, difference):
    file, study = finished
    before = snapshot(study)
    message = refusal(verb, file, "--out", study, "--set", change, lines=3)
    assert (
        f"{study} holds results that this change would make stale. Nothing was touched.\n  {difference}\n"
        in message
    )
    assert "Name a new folder with --out, or take the change back." in message
    assert snapshot(study) == before


def test_a_source_that_went_bad_leaves_the_finished_study_alone(finished, recipe, tmp_path, rows):
    _, study = finished
    before = snapshot(study)
    (tmp_path / "worse.jsonl").write_bytes(rows + b"{oops\n" * 4)
    assert "preferences: digest was" in refusal(
        "study", recipe(source=tmp_path / "worse.jsonl"), "--out", study, lines=3
    )
    assert snapshot(study) == before


def test_a_disk_that_is_full_at_any_write_costs_nothing_that_was_done(
    finished, recipe, tmp_path, monkeypatch
):
    _, undisturbed = finished
    file, out = recipe(), tmp_path / "study"
    real, calls = os.fsync, itertools.count(1)
    stopped = []
    for full in itertools.count(1):
        calls = itertools.count(1)

        def fsync(descriptor, calls=calls, full=full):
            if next(calls) == full:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            real(descriptor)

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fsync)
            done = call("study", file, "--out", out)
        if done.code == 0:
            break
        assert done.code == 2
        assert done.err.startswith(f"Error: Cannot write {out}/")
        assert "No space left on device" in done.err
        assert done.err.endswith("then run the same command again to continue.\n")
        assert len(done.err.splitlines()) == 1
        stopped.append(done.err.split(":")[1].rsplit("/")[-1])
    assert {"training.jsonl"} < set(stopped), stopped
    assert (out / "results.json").read_bytes() == (undisturbed / "results.json").read_bytes()
    assert not [path for path in out.rglob("*") if path.name.endswith(".tmp")]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 48 KiB that can grow; skipped where one cannot be mounted."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(options):
        try:
            done = subprocess.run(
                ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], capture_output=True, check=False
            )
        except OSError:
            return False
        return done.returncode == 0

    if not mount("size=48k"):
        pytest.skip("no right to mount a file system here")
    yield place, lambda size: mount(f"remount,size={size}")
    subprocess.run(["umount", str(place)], check=True)


def test_a_small_disk_is_named_and_the_study_goes_on_once_it_has_grown(finished, recipe, small_disk):
    _, undisturbed = finished
    disk, grow = small_disk
    file = recipe()
    message = refusal("study", file, "--out", disk / "study")
    assert message.startswith(f"Cannot write {disk}/study/")
    assert (
        "No space left on device (0 MiB are free). Nothing that was already there was changed. Free"
        in message
    )
    assert grow("16m")
    assert call("study", file, "--out", disk / "study").code == 0
    results = (disk / "study" / "results.json").read_bytes()
    assert results == (undisturbed / "results.json").read_bytes()
    assert grow(f"{sum(len(content or b'') for content in snapshot(disk).values()) // 1024 + 200}k")
    message = refusal("merge", disk / "study" / "adapters" / "mid", "--out", disk / "merged")
    assert f"Cannot write {disk / 'merged'}: " in message
    assert {path.name for path in disk.iterdir()} == {"study"}


def test_a_report_on_what_is_no_study_is_refused(tmp_path, finished):
    _, study = finished
    (tmp_path / "empty").mkdir()
    before = snapshot(study)
    for folder in ("empty", "absent"):
        message = refusal("report", study, folder)
        assert f"{folder} is not a study" in message
        assert "Give the folder that a study was written to with --out." in message
    assert snapshot(study) == before
    assert snapshot(tmp_path) == {"empty": None}


@pytest.mark.parametrize("verb", [["audit"], ["merge", "--out", "merged"]])
def test_a_folder_that_is_no_adapter_is_refused(tmp_path, finished, verb):
    recipe_file, study = finished
    (tmp_path / "empty").mkdir()
    for folder in ("empty", "absent", recipe_file):
        message = refusal(*verb, folder)
        assert f"{folder} is no PEFT adapter: adapter_config.json is missing. Give the folder" in message
    shutil.copytree(study / "adapters" / "mid", "cut")
    weights = Path("cut/adapter_model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-100])
    assert f"{weights} is damaged or incomplete" in refusal(*verb, "cut")
    weights.unlink()
    assert "cut is no adapter in safetensors: adapter_model.safetensors is missing" in refusal(*verb, "cut")
    Path("cut/adapter_config.json").write_text("[]")
    assert "must be a mapping, got list" in refusal(*verb, "cut")
    assert not Path("merged").exists()


def test_a_merge_never_overwrites(tmp_path, finished):
    file, study = finished
    adapter = study / "adapters" / "mid"
    before = snapshot(study)
    for taken in (study, file):
        message = refusal("merge", adapter, "--out", taken)
        assert f"{taken} exists already. Nothing was overwritten; name a new folder with --out." in message
    assert f"Cannot write {file / 'merged'}" in refusal("merge", adapter, "--out", file / "merged")
    assert snapshot(study) == before


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"base_model_name_or_path": None}, "does not name its base model (base_model_name_or_path)"),
        ({"base_model_name_or_path": "./absent"}, "The model folder './absent' does not exist"),
        ({"r": 99}, "does not fit its base model"),
        ({"target_modules": ["no_such_module"]}, "does not fit its base model"),
        ({"peft_type": "NOTHING"}, "is a PEFT adapter of type 'NOTHING'. Only LoRA is read"),
    ],
    ids=only_short,
)
def test_an_adapter_that_cannot_be_merged_is_refused(finished, settings, words):
    _, study = finished
    shutil.copytree(study / "adapters" / "mid", "adapter")
    file = Path("adapter/adapter_config.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))
    assert words in refusal("merge", "adapter", "--out", "merged")
    assert not list(Path().glob("*merged*"))


def test_a_merge_without_a_tokenizer_leaves_nothing_behind(finished, model_copy):
    _, study = finished
    shutil.copytree(study / "adapters" / "mid", "adapter")
    file = Path("adapter/adapter_config.json")
    base = model_copy(without=["tokenizer*", "special_tokens*"])
    file.write_text(json.dumps(json.loads(file.read_text()) | {"base_model_name_or_path": str(base)}))
    assert "Put the tokenizer's files there" in refusal("merge", "adapter", "--out", "merged")
    assert not list(Path().glob("*merged*"))


def test_an_unknown_catalogue_is_refused_with_the_known_ones():
    message = refusal("list", "loss")
    assert "Unknown catalogue 'loss'. Did you mean 'losses'? Known: partitions, conditions, losses" in message


def test_init_never_overwrites(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("model: precious\n")
    for taken in (file, tmp_path):
        assert f"{taken} exists already. Nothing was overwritten; give another name." in refusal(
            "init", taken
        )
    assert f"Cannot write {file / 'x.yaml'}" in refusal("init", file / "x.yaml")
    assert file.read_text() == "model: precious\n"
    assert snapshot(tmp_path) == {"mine.yaml": b"model: precious\n"}


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--learning-rate", "nan", "--learning-rate must be above 0 and at most 1, got nan."),
        ("--learning-rate", "inf", "--learning-rate must be above 0 and at most 1, got inf."),
        ("--learning-rate", "-1", "--learning-rate must be above 0 and at most 1, got -1."),
        ("--learning-rate", "0", "--learning-rate must be above 0 and at most 1, got 0."),
        ("--steps", "9" * 400, "--steps must be from 1 to 10,000, got 999"),
    ],
    ids=only_short,
)
def test_verify_refuses_numbers_that_it_cannot_train_with(recipe, option, value, told):
    pytest.importorskip("trl")
    assert told in refusal("verify", recipe(), option, value)
    assert_left_nothing()


def test_a_cost_that_is_no_number_is_refused(recipe):
    assert "judge.max_cost must be a finite number, got inf" in refusal(
        "judge", recipe(), "--max-cost", "inf"
    )
