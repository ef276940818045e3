"""What a model can read and what ends its answers: tokens without embedding, positions that run out, ends of turns."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import stratalign as sa
from stratalign.cli import plan_tables
from stratalign.errors import UserError
from stratalign.models import inspect_model, load_tokenizer
from stratalign.pipeline.fingerprints import add_fingerprints
from stratalign.pipeline.limits import turn_end
from stratalign.pipeline.reading import with_template
from stratalign.preferences import load_prompts
from stratalign.recipe import parse_recipe
from stratalign.records import StudyFolder, read_jsonl
from tiny_models import make_tokenizer, random_model

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA3 = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n\n{{ m['content'] }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n\n{% endif %}"
)
MISTRAL = (
    "{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] }}[/INST]"
    "{% else %} {{ m['content'] }}<eos>{% endif %}{% endfor %}"
)
UNMARKED = (
    "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
PHI3 = CHATML.replace("{% endfor %}", "{% endfor %}{% if not add_generation_prompt %}<eos>{% endif %}")
YARN = {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e4}
STATED = {"original_max_position_embeddings": 16}
SPECIAL = ["<|im_start|>", "<|im_end|>", "<|eot_id|>"]


@pytest.fixture
def model(tmp_path: Path) -> Callable[..., Path]:
    """`model(kind="gpt2", template=CHATML, unembedded=["<|x|>"])`; the tokenizer has 303 tokens and `unembedded`."""

    def made(kind: str = "llama", template: str | None = None, unembedded: Any = (), **changes: Any) -> Path:
        folder = tmp_path / "model"
        tokenizer = make_tokenizer()
        tokenizer.add_tokens(SPECIAL, special_tokens=True)
        torch.manual_seed(0)
        random_model(kind, 3, len(tokenizer), **changes).save_pretrained(folder)
        tokenizer.add_tokens(list(unembedded), special_tokens=True)
        tokenizer.chat_template = template
        tokenizer.save_pretrained(folder)
        return folder

    return made


@pytest.fixture
def study(tmp_path: Path) -> Callable[..., Any]:
    """`study(model, rows)`: a recipe on these (prompt, chosen) texts."""

    def made(model: Path, rows: list[tuple[str, str]], **changes: Any) -> Any:
        source = tmp_path / "rows.jsonl"
        lines = [{"prompt": asked, "chosen": good, "rejected": "No."} for asked, good in rows]
        source.write_text("".join(json.dumps(line) + "\n" for line in lines))
        recipe = {
            "model": str(model),
            "preferences": {"source": str(source), "train": "all", "validation": 0, "held_out": 4},
            "conditions": ["base", "mid"],
            "training": {"batch_size": 4, "gradient_accumulation": 1, "rank": 2, "alpha": 4},
            "generation": {"max_new_tokens": 8},
        }
        for key, value in changes.items():
            recipe[key] = {**recipe[key], **value}  # type: ignore[dict-item]
        return parse_recipe(recipe)

    return made


def asked(count: int = 12) -> list[tuple[str, str]]:
    return [(f"How many are {n} and one?", f"They are {n + 1}.") for n in range(count)]


@pytest.mark.parametrize(
    ("template", "ends"),
    [
        (CHATML, "<|im_end|>"),
        (PHI3, "<|im_end|>"),
        (LLAMA3, "<|eot_id|>"),
        (MISTRAL, None),
        (UNMARKED, None),
        (None, None),
    ],
)
def test_the_end_of_a_turn_ends_answers_where_the_model_names_another(model, study, tmp_path, template, ends):
    planned = sa.plan(study(model(template=template), asked()), out=tmp_path / "out")
    assert planned.turn_end == ends
    assert planned.stop_at == (() if ends is None else (ends,))


def test_an_end_of_turn_that_the_generation_settings_name_is_nothing_new(model, study, tmp_path):
    folder = model(template=CHATML)
    file = folder / "generation_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "eos_token_id": [0, 301]}))
    planned = sa.plan(study(folder, asked()), out=tmp_path / "out")
    assert planned.turn_end is None
    assert planned.ends == {"<eos>": "end token", "<|im_end|>": "end token"}


def test_the_plan_says_what_ends_an_answer_and_the_folder_keeps_it(model, study, tmp_path, capsys):
    folder = model(template=CHATML)
    recipe = study(folder, asked())
    planned = sa.plan(recipe, out=tmp_path / "out")
    plan_tables.plan(planned.describe())
    said = " ".join(capsys.readouterr().out.split())
    assert "Answers end at '<eos>' (end token), '<|im_end|>' (end of a turn in the rows)" in said
    add_fingerprints(StudyFolder(tmp_path / "out"), {"generation": planned.fingerprints["generation"]})
    (folder / "chat_template.jinja").write_text(LLAMA3)
    with pytest.raises(UserError, match=r"turn_end was <\|im_end\|>, now <\|eot_id\|>"):
        sa.plan(recipe, out=tmp_path / "out")


def test_rows_beyond_the_positions_are_too_long_and_the_message_says_why(model, study, tmp_path):
    rows = [(q, "They are many. " * (40 if n % 3 else 1)) for n, (q, _) in enumerate(asked(20))]
    recipe = study(model("gpt2", n_positions=64), rows)
    with pytest.raises(
        UserError, match=r"13 too long.* rows of more than 64 tokens, which is how many positions"
    ):
        sa.plan(recipe, out=tmp_path / "out")
    rows = [(q, "They are many. " * (1 if n % 3 else 40)) for n, (q, _) in enumerate(asked(20))]
    kept = study(model("gpt2", n_positions=64), rows)
    planned = sa.plan(kept, out=tmp_path / "out")
    assert {row.line for row in planned.bad} == {1, 4, 7, 10, 13, 16, 19}


@pytest.mark.parametrize(
    ("kind", "changes", "positions"),
    [
        ("opt", {"max_position_embeddings": 64}, 64),
        ("llama", {"max_position_embeddings": 64}, 64),
        ("llama", {"max_position_embeddings": 64, "rope_parameters": YARN}, 256),
        ("llama", {"max_position_embeddings": 64, "rope_parameters": YARN | STATED}, 64),
        ("falcon", {"max_position_embeddings": 64}, None),  # ALiBi
        ("bloom", {}, None),
    ],
)
def test_positions_are_those_of_the_config_or_of_its_scaling(
    model, study, tmp_path, kind, changes, positions
):
    planned = sa.plan(study(model(kind, **changes), asked()), out=tmp_path / "out")
    assert planned.shape.positions == positions


def test_answers_that_the_positions_cannot_hold_are_refused_with_numbers(model, study, tmp_path):
    folder = model("gpt2", n_positions=64)
    rows = [("a" * 40, "Yes.")] * 1 + asked(11)
    planned = sa.plan(study(folder, rows), out=tmp_path / "out")
    longest = max(len(prompt.ids) for prompt in planned.prompts)
    fits = study(folder, rows, generation={"max_new_tokens": 64 - longest})
    out = sa.generate(fits, out=tmp_path / "fits")
    assert len(list(read_jsonl(out.responses))) == 8  # two runs, four prompts
    one_more = study(folder, rows, generation={"max_new_tokens": 65 - longest})
    words = f"has {longest} tokens, but the model in .* has 64 positions for both. Set .* to {64 - longest} or less"
    with pytest.raises(UserError, match=words):
        sa.plan(one_more, out=tmp_path / "more")


def test_pairs_are_held_against_the_positions_too(model, study, tmp_path):
    recipe = study(model("gpt2", n_positions=64), asked(), generation={"max_new_tokens": 60})
    recipe = recipe.model_copy(
        update={"pairs": recipe.pairs.model_copy(update={"target": "length", "prefer": "higher"})}
    )
    with pytest.raises(UserError, match=r"generation.max_new_tokens is 60 and the longest prompt"):
        sa.pairs(recipe, out=tmp_path / "pairs.jsonl")


@pytest.mark.parametrize(("template", "ends"), [(CHATML, "<|im_end|>"), (MISTRAL, None)])
def test_pairs_end_answers_at_the_end_of_a_turn_as_studies_do(model, study, tmp_path, template, ends):
    recipe = study(model(template=template), asked())
    shape = inspect_model(recipe.model)
    tokenizer = load_tokenizer(recipe.model)
    prompts, _bad = load_prompts(recipe.preferences)
    assert (
        turn_end(prompts, tokenizer, with_template(recipe, prompts, tokenizer, None)[0].preferences, shape)
        == ends
    )


def test_a_row_with_a_token_that_has_no_embedding_is_a_bad_row(model, study, tmp_path):
    rows = asked()
    rows[2] = (rows[2][0], "They are <|x|>.")
    recipe = study(model(unembedded=["<|x|>"]), rows, preferences={"max_bad": 0.2})
    (bad,) = sa.plan(recipe, out=tmp_path / "out").bad
    assert (bad.line, bad.reason) == (3, "token without an embedding")
    assert bad.detail == "'<|x|>' has the id 303, the model has 303 embeddings"
    with pytest.raises(UserError, match="1 token without an embedding"):
        sa.plan(study(tmp_path / "model", rows), out=tmp_path / "out")


def test_a_template_of_tokens_that_have_no_embedding_is_refused_with_the_cause(model, study, tmp_path):
    folder = model(template=CHATML.replace("<|im_start|>", "<|x|>"), unembedded=["<|x|>"])
    with pytest.raises(UserError, match=r"12 of 12 rows .*'<\|x\|>' has the id 303.* were not resized"):
        sa.plan(study(folder, asked()), out=tmp_path / "out")


def test_a_generation_prompt_with_a_token_that_has_no_embedding_is_refused(model, study, tmp_path):
    template = CHATML.replace("%}<|im_start|>assistant\n", "%}<|im_start|>assistant\n<|x|>")
    with pytest.raises(UserError, match=r"as generation gets it, has a token without an embedding"):
        sa.plan(study(model(template=template, unembedded=["<|x|>"]), asked()), out=tmp_path / "out")


def test_the_tokenizer_of_another_model_is_refused(model, study, tmp_path):
    folder = model()
    shutil.rmtree(folder)
    random_model("llama", 3, 100).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    with pytest.raises(UserError, match=r"tokenizer and the model do not belong together"):
        sa.plan(study(folder, asked()), out=tmp_path / "out")
