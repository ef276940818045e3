"""Whatever a recipe holds, it is planned or refused in words: never a traceback, never a process that hangs."""

import copy
import random

import pytest
import yaml

import stratalign as sa
from stratalign.errors import UserError
from stratalign.recipe import Recipe
from stratalign.words import REFUSED, WORDS

QUICK, ALL = 60, 300


def nested(depth):
    value = 1
    for _ in range(depth):
        value = [value]
    return value


VALUES = [
    None, True, False, 0, -1, 1, 2, 7, 2**31, 2**63 - 1, 2**64, 10**400, -(10**400), 0.0, 0.5, 1.0, -0.5, 1e-300,
    1e300, float("nan"), float("inf"), -float("inf"), "", " ", "auto", "all", "none", "full", "base", "mid", "true",
    "1", "nan", "x" * 500, "\u202eabc", "\U0001f600", "a\nb", "[bold]x[/bold]", "[/]", "../x", "a:b", ":", "~", "/",
    "2024-02-30", [], {}, [[]], [None], [True], [1.5], ["mid", "mid"], list(range(200)), {"a": {}}, {"": 1}, {1: 2},
    {None: None}, {True: False}, nested(40), nested(80), {"block": "mid"}, {"layers": "0-5"}, {"layers": [5, "0-9"]},
    {"random": 2, "seed": -1}, {"phases": [{}]}, {"by": "random", "parameters": 2}, {"tune": {"rank": []}},
]  # fmt: skip
"""What is put in the place of a value."""


def places(written, path=()):
    """Every place of a recipe that holds a value, containers as well."""
    if path:
        yield path
    items = (
        written.items()
        if isinstance(written, dict)
        else enumerate(written)
        if isinstance(written, list)
        else ()
    )
    for key, below in items:
        yield from places(below, (*path, key))


def mutated(plain, seed):
    """The recipe with one to three changes: a value, a missing or a misspelt key, a new one, a word of another tool."""
    rng = random.Random(seed)
    recipe = copy.deepcopy(plain)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        *parents, last = rng.choice(list(places(recipe)))
        holder = recipe
        for key in parents:
            holder = holder[key]
        how = rng.choice(["value", "value", "value", "missing", "misspelt", "new", "word"])
        if how == "value" or isinstance(holder, list):
            holder[last] = rng.choice(VALUES)
        elif how == "missing":
            del holder[last]
        elif how == "misspelt":
            name = str(last)
            at = rng.randrange(len(name) + 1)
            holder[name[:at] + rng.choice("xyz_[ \u00e9") + name[at + 1 :]] = holder.pop(last)
        elif how == "new":
            known = [*Recipe.model_fields, *VALUES]
            name = rng.choice([key for key in known if key.__hash__ is not None])
            holder[name] = rng.choice(VALUES)
        else:
            holder[rng.choice([*WORDS, *REFUSED])] = rng.choice(VALUES)
    return recipe


def mangled(text, seed):
    """The file's text with a line repeated, lost or moved, or with characters that mean something to YAML."""
    rng = random.Random(seed)
    lines = text.splitlines()
    for _ in range(rng.randint(1, 2)):
        line, other = rng.randrange(len(lines)), rng.randrange(len(lines))
        how = rng.choice(["repeated", "lost", "moved", "written into", "written into"])
        if how == "repeated":
            lines.insert(other, lines[line])
        elif how == "lost" and len(lines) > 1:
            del lines[line]
        elif how == "moved":
            lines.insert(other, lines.pop(line))
        else:
            at = rng.randrange(len(lines[line]) + 1)
            mark = rng.choice(
                [
                    "&a ",
                    "*a",
                    "<<: *a",
                    "!!set ",
                    "!x ",
                    "? ",
                    "- ",
                    "[",
                    "}",
                    ": ",
                    "#",
                    "%",
                    "\t",
                    "\x07",
                    "'",
                    "|",
                ]
            )
            lines[line] = lines[line][:at] + mark + lines[line][at:]
    return "\n".join(lines)


@pytest.fixture
def plain(recipe):
    """A recipe in which every section is written out."""
    written = recipe(
        conditions={
            "base": None,
            "mid": {"block": "mid", "learning_rate": [1e-3, 2e-3]},
            "some": {"layers": ["0-1", 3], "rank": 2},
            "drawn": {"random": 2, "seed": 1},
            "joint": {"blocks": ["local", "global"], "learning_rate": {"local": 1e-3, "global": 1e-4}},
            "staged": {"phases": [{"block": "local", "steps": 2}, {"block": "mid"}]},
            "best": {"block": "full", "tune": {"rank": [2, 4], "by": "loss"}},
            "few": {"by": "even", "parameters": 0.5},
        },
        selectors={"by": ["even"], "parameters": 0.5},
        profile={"window": 2, "random": 2},
        boundaries={"shift": [1]},
        partition={"method": "even", "blocks": ["local", "mid", "global"]},
        seeds=[0, 1],
        pairs={"target": "length"},
        diagnostics={},
    )
    written["model"] = {"base": written["model"]}
    return written


def planned_or_refused(plain, folder, seed):
    """The outcome for one mutated recipe, which reaches the program as a file."""
    file = folder / f"{seed}.yaml"
    if seed % 4:
        text = yaml.safe_dump(mutated(plain, seed), allow_unicode=True, sort_keys=False)
    else:
        text = mangled(yaml.safe_dump(plain, sort_keys=False), seed)
    file.write_text(text, encoding="utf-8")
    try:
        sa.plan(file, out=folder / "out").describe()
    except UserError as error:
        told = str(error)
        assert told, seed
        assert len(told) < 4000, (seed, told[:300])
        assert "Traceback" not in told
        return "refused"
    return "planned"


def test_a_recipe_with_every_section_is_planned_as_it_is(plain, tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(plain))
    assert sa.plan(file, out=tmp_path / "out").describe()["steps"]


def check(plain, folder, seeds):
    outcomes = {seed: planned_or_refused(plain, folder, seed) for seed in seeds}
    assert set(outcomes.values()) == {"planned", "refused"}, "the mutations are all of one kind"


def test_sixty_mutated_recipes_are_planned_or_refused(plain, tmp_path):
    check(plain, tmp_path, range(QUICK))


@pytest.mark.slow
def test_three_hundred_mutated_recipes_are_planned_or_refused(plain, tmp_path):
    check(plain, tmp_path, range(QUICK, ALL))
