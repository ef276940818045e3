"""pairs: from prompts to preferences that differ in one dimension; resumed, refused, and read back."""

import json
from pathlib import Path

import pytest
import yaml
from command_line import call, refusal

import stratalign as sa
from stratalign.errors import UserError
from stratalign.pipeline import sampling
from stratalign.preferences import PreferenceSettings, load

PROMPTS = [f"Tell me of {what}." for what in ("cats", "dogs", "birds", "the sea", "trains", "cake")]


@pytest.fixture
def file(make_model, tmp_path, monkeypatch):
    """A recipe whose target is the answers' length, by a function of the user's."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "letter_scores.py").write_text(
        "def letters(prompts, responses):\n    return [len(r) for r in responses]\n"
    )
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps({"prompt": one}) + "\n" for one in PROMPTS))
    recipe = {
        "model": str(make_model("llama")),
        "preferences": {"source": "made.jsonl", "train": 2, "validation": 0, "held_out": 2},
        "scorers": [{"function": "letter_scores:letters"}],
        "pairs": {
            "target": "letters",
            "prompts": "prompts.jsonl",
            "answers": 4,
            "off_target": [],
        },
        "generation": {"max_new_tokens": 8, "batch_size": 4, "stop": [" ", "e"]},
        "training": {"batch_size": 2, "gradient_accumulation": 1, "epochs": 2, "rank": 4, "alpha": 8},
        "conditions": ["base", "mid"],
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def rows(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def test_pairs_differ_as_the_function_says_and_are_preferences_of_a_study(file, tmp_path):
    done = call("pairs", file, "--out", "made.jsonl")
    assert done.code == 0
    assert done.err.startswith("This recipe runs code: scorer letter_scores:letters, ")
    assert len(done.err.splitlines()) == 1
    assert "letters (target)" in done.out
    made = rows("made.jsonl")
    assert 4 <= len(made) <= len(PROMPTS)
    for row in made:
        assert len(row["chosen"]) > len(row["rejected"])
        assert row["scores"]["chosen"]["letters"] == pytest.approx(len(row["chosen"]))
        assert row["worth"] == pytest.approx(len(row["chosen"]) - len(row["rejected"]))
    read = load(PreferenceSettings(source="made.jsonl"))
    assert (len(read.rows), read.bad) == (len(made), ())
    assert len({row.cluster for row in read.rows}) == len(made)
    planned = sa.plan(file, ["preferences.objective=[letters]"], tmp_path / "study")
    assert len(planned.parts.train) == 2


def test_the_best_of_all_pairs_is_chosen(file):
    """Against a choice by brute force over the answers that were kept."""
    sa.pairs(file, out="made.jsonl")
    made = {row["prompt"]: row["worth"] for row in rows("made.jsonl")}
    kept = {}
    for row in rows("made.making/responses.jsonl"):
        if row["finish"] == "stop" and row["text"].strip():
            kept.setdefault(row["prompt_id"], []).append(len(row["text"]))
    best = {PROMPTS[int(key[1:]) - 1]: max(own) - min(own) for key, own in kept.items()}
    assert made == pytest.approx({prompt: gap for prompt, gap in best.items() if gap > 0})


def test_interrupted_anywhere_the_same_bytes_come_out_and_another_aim_samples_nothing(file, monkeypatch):
    sa.pairs(file, out="whole.jsonl")
    stock, calls = sampling.answer, []

    def dying(*args, **options):
        calls.append(options["key"])
        if len(calls) == 4:
            raise KeyboardInterrupt
        return stock(*args, **options)

    monkeypatch.setattr(sampling, "answer", dying)
    with pytest.raises(KeyboardInterrupt):
        sa.pairs(file, out="made.jsonl")
    kept = Path("made.making/responses.jsonl")
    kept.write_text(kept.read_text()[:-30])  # and the last line was torn
    sa.pairs(file, out="made.jsonl")
    assert Path("made.jsonl").read_bytes() == Path("whole.jsonl").read_bytes()
    # eight batches (two groups, four answers each): three made, the fourth died, the torn third and five more
    assert len(calls) == 4 + 6
    sa.pairs(file, ["pairs.prefer=lower"], "made.jsonl")
    assert len(calls) == 10
    sa.pairs(file, ["pairs.answers=5"], "made.jsonl")
    assert len(calls) == 12
    with pytest.raises(UserError, match=r"answers: seed was 42, now 1"):
        sa.pairs(file, ["pairs.seed=1"], "made.jsonl")


def test_lower_is_preferred_where_asked_and_several_pairs_of_a_prompt_share_no_answer(file):
    changes = ["pairs.prefer=lower", "pairs.per_prompt=2", "pairs.units=sd"]
    sa.pairs(file, changes, "made.jsonl")
    made = rows("made.jsonl")
    assert all(len(row["chosen"]) < len(row["rejected"]) for row in made)
    assert len(made) > len({row["prompt"] for row in made})
    for prompt in PROMPTS:
        texts = [row[side] for row in made if row["prompt"] == prompt for side in ("chosen", "rejected")]
        assert len(set(texts)) == len(texts)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["pairs.target=null"], "pairs.target is missing"),
        (["pairs.target=leters"], "Unknown dimension in pairs.target 'leters'. Did you mean 'letters'?"),
        (["pairs.target=margin"], "Unknown dimension in pairs.target 'margin'"),
        (["pairs.target=length"], "Neither more nor less of 'length' is better"),
        (["pairs.off_target=[letters]"], "names the target 'letters' itself"),
        (["pairs.off_target=[grammer]"], "Unknown dimension in pairs.off_target 'grammer'"),
        (["pairs.prompts=nowhere.jsonl"], "There is no file or folder nowhere.jsonl"),
        (["pairs.prompts=null"], "There is no file or folder made.jsonl"),
        (["pairs.min_gap=200"], "No pair came of 24 answers to 6 prompts"),
        (["pairs.answers=1"], "pairs.answers: Input should be greater than or equal to 2, got 1"),
        (["pairs.anwsers=3"], "Unknown key 'pairs.anwsers'. Did you mean 'answers'?"),
        (["judge.protocol=microworld"], "can judge none of the held-out prompts"),
        (["scorers=[{function: 'no_such_module_here:score'}]"], "Cannot import the scorer"),
        (["scorers=[{tasks: [arc_easy], include_path: nowhere}]"], ""),
        (["training.max_length=2"], "None of the 6 rows of"),
        (["generation.max_new_tokens=1"], "answers could be used, and none"),
    ],
)
def test_mistakes_are_told_in_one_sentence(file, changes, message):
    told = refusal(
        "pairs", file, *(part for change in changes for part in ("--set", change)), "--out", "made.jsonl"
    )
    assert message in told
    assert not Path("made.jsonl").exists()


def test_a_file_in_the_way_is_kept(file):
    Path("made.jsonl").write_text("mine")
    assert "Nothing was overwritten" in refusal("pairs", file, "--out", "made.jsonl")
    assert Path("made.jsonl").read_text() == "mine"
    assert "must name a file that ends in .jsonl" in refusal("pairs", file, "--out", "made")
    Path("folder.jsonl").mkdir()
    assert "exists already" in refusal("pairs", file, "--out", "folder.jsonl")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{}", "missing column"),
        ('{"prompt": "  "}', "empty prompt"),
        ("[1]", "not an object"),
        ("{", "not JSON"),
    ],
)
def test_a_row_without_a_prompt_is_counted(file, line, reason):
    Path("prompts.jsonl").write_text(f"{line}\n")
    assert reason in refusal("pairs", file, "--out", "made.jsonl")


def test_prompts_may_be_messages_transcripts_or_those_of_pairs(file, transcripts):
    asked = {"prompt": [{"role": "user", "content": "Hi"}]}
    Path("prompts.jsonl").write_text(json.dumps(asked) + "\n")
    assert "has no chat template" in refusal("pairs", file, "--out", "made.jsonl")
    made = sa.pairs(file, [f"preferences.source={transcripts}", "pairs.prompts=null"], "of_pairs.jsonl")
    assert made.prompts > 20
    read = load(PreferenceSettings(source="of_pairs.jsonl"))
    assert {row.kind for row in read.rows} == {"transcript"}
    assert read.bad == ()
