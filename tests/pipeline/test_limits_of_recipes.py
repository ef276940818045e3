"""Recipes and models of absurd size are refused in words, before anything of that size is made."""

import json
import shutil
import subprocess
import sys

import pytest
import yaml

import stratalign as sa
from stratalign.errors import UserError
from stratalign.recipe import parse_recipe

HUGE = 10**12


CASES = {
    "epochs": ({"training": {"epochs": 1e9}}, "training.epochs is 1,000,000,000: with"),
    "training rows": ({"preferences": {"train": HUGE}}, "train: 1000000000000, but"),
    "validation rows": ({"preferences": {"validation": HUGE}}, "validation: 1000000000000 and"),
    "a range of layers": ({"conditions": {"x": {"layers": "0-999999"}}}, "names layer 999999. Models have at most"),
    "a longer range": ({"conditions": {"x": {"layers": "0-999999999"}}}, "'0-999999999' is no layer"),
    "ranges over and over": ({"conditions": {"x": {"layers": ["0-999"] * 10_000}}}, "names layer 0-999 twice"),
    "random layers": ({"conditions": {"x": {"random": HUGE}}}, "from 1 to 6"),
    "conditions": ({"conditions": {f"c{n}": {"block": "mid"} for n in range(20_000)}}, "asks for 20,000 conditions"),
    "a sweep": (
        {"conditions": {"x": {key: list(range(1, 1000)) for key in ("rank", "alpha", "beta")} | {"block": "mid"}}},
        "conditions.x asks for 997,002,999 conditions",
    ),
    "a grid": (
        {"conditions": {"x": {"block": "mid", "tune": {"rank": list(range(1, 2000))}}}},
        "asks for 2,000 conditions",
    ),
    "rates of blocks": (
        {
            "conditions": {
                "x": {
                    "blocks": ["local", "mid"],
                    "tune": {"learning_rate": {name: list(range(1, 200)) for name in ("local", "mid", "global")}},
                }
            }
        },
        "conditions.x.tune.learning_rate has more than 1,000 combinations",
    ),
    "seeds": ({"seeds": list(range(10**6))}, "asks for 2,000,000 runs (conditions x seeds)"),
    "blocks": ({"partition": {"blocks": HUGE}}, "A partition has at most 1,000 blocks, got 1000000000000"),
    "draws of the profile": ({"profile": {"random": HUGE}}, "profile.random: Input should be less"),
    "shifts": ({"boundaries": {"shift": list(range(1, 10**5))}}, "boundaries.shift: List should have at most"),
    "draws of a selector": ({"selectors": {"by": ["random"], "random": HUGE}}, "selectors.random: Input should be"),
    "true as a seed": ({"seeds": [True]}, "seeds[0] must be a number, got true"),
    "true as a rank": ({"training": {"rank": True}}, "training.rank must be a number, got true"),
    "true as a rank of a condition": (
        {"conditions": {"x": {"block": "mid", "rank": True}}},
        "conditions.x.rank must be a number, got true",
    ),
    "true as a rate of a block": (
        {"training": {"learning_rate": {"mid": True}}},
        "training.learning_rate.mid must be a number, got true",
    ),
    "infinite warm-up": ({"training": {"warmup": float("inf")}}, "training.warmup must be a finite number, got inf"),
    "temperature nan": ({"generation": {"temperature": float("nan")}}, "temperature must be a finite number"),
    "more than 64 bits": ({"training": {"rank": 10**5000}}, "training.rank must be a number of at most 64 bits"),
    "a number as key": ({1: 2}, "1"),
    "null as key": ({None: 2}, "None"),
    "a key of markup": ({"[bold]x[/bold]": 2}, "Unknown key '[bold]x[/bold]'"),
    "a long key": ({"x" * 10**6: 2}, "Unknown key 'xxx"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_recipe_that_asks_for_too_much_is_refused(recipe, tmp_path, case):
    changes, told = CASES[case]
    start = recipe(conditions=["base", "mid"])
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(start.get(key), dict)
        start[key] = start[key] | value if both else value
    with pytest.raises(UserError) as refusal:
        sa.plan(parse_recipe(start), out=tmp_path / "out")
    assert told in str(refusal.value)
    assert len(str(refusal.value)) < 1500


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (
            {"num_hidden_layers": 10**6},
            "num_hidden_layers: 1000000, which must be a whole number from 1 to 1,000",
        ),
        ({"num_attention_heads": 0}, "num_attention_heads: 0, which must be"),
        ({"hidden_size": 0}, "hidden_size: 0, which must be"),
        ({"num_key_value_heads": -2}, "num_key_value_heads: -2, which must be"),
        ({"vocab_size": True}, "vocab_size: True, which must be"),
        ({"intermediate_size": 1e300}, "intermediate_size: 1e+300, which must be"),
    ],
)
def test_a_model_with_sizes_that_no_model_has_is_refused(recipe, make_model, tmp_path, config, told):
    folder = tmp_path / "model"
    shutil.copytree(make_model("llama"), folder)
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | config))
    with pytest.raises(UserError) as refusal:
        sa.plan(parse_recipe(recipe(model=str(folder))), out=tmp_path / "out")
    assert told in str(refusal.value)


def test_a_partition_of_ones_own_that_never_ends_is_refused(recipe, tmp_path, monkeypatch):
    (tmp_path / "endless.py").write_text(
        "import itertools\n\n\ndef parts(n_layers, blocks):\n    return {'a': itertools.count()}\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match="more than 1,000 layers"):
        sa.plan(parse_recipe(recipe(partition={"method": "endless:parts"})), out=tmp_path / "out")


def test_the_largest_refusals_take_no_gigabyte(tmp_path):
    """In a process of its own, whose memory is measured: the recipe is read and refused without a model."""
    recipe = {"model": "x/y", "preferences": {"source": "x"}, "conditions": {"x": {"layers": "0-999999"}}}
    files = []
    for name, change in {
        "sweep": {
            "conditions": {
                "x": {k: list(range(1, 900)) for k in ("rank", "alpha", "beta")} | {"block": "mid"}
            }
        },
        "blocks": {"conditions": [f"c{n}" for n in range(19_000)]},
    }.items():
        files.append(tmp_path / f"{name}.yaml")
        files[-1].write_text(yaml.safe_dump(recipe | change))
    code = (
        "import resource, sys\n"
        "from stratalign.errors import UserError\n"
        "from stratalign.recipe import load_recipe\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for file in sys.argv[1:]:\n"
        "    try:\n"
        "        load_recipe(file)\n"
        "    except UserError:\n"
        "        continue\n"
        "    sys.exit(file + ' was read')\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, files)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    scale = 1024 if sys.platform != "darwin" else 1
    assert int(done.stdout) * scale < 300e6
