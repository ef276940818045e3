"""A user's own partition or scorer: whatever it gets wrong is told with its name and line, never with a traceback."""

import re
from pathlib import Path

import pytest

from stratalign.blocks import partition
from stratalign.dotted import NO_CODE, import_function
from stratalign.errors import UserError
from stratalign.scorers import Exchange, ScorerSettings, own_scorer

RAISES = """\
import sys


def helper(count):
    return 1 / (count - count)


def parts(n_layers, blocks):
    return helper(n_layers)


def ends(n_layers, blocks):
    sys.exit("no such model")


def alone(n_layers):
    return {}


def score(prompts, responses):
    return [helper(1)]


def long(prompts, responses):
    return [1, 2]


def huge(prompts, responses):
    return [10**400]
"""
RETURNS = "def parts(n_layers, blocks):\n    return {}\n"


@pytest.fixture
def module(tmp_path, monkeypatch):
    """`module(text)`: a new module of the user's that can be imported; its name."""

    def write(text):
        name = f"lab_{len(list(tmp_path.iterdir()))}_{abs(hash(tmp_path)) % 10**6}"
        (tmp_path / f"{name}.py").write_text(text)
        return name

    monkeypatch.syspath_prepend(tmp_path)
    return write


def refused(call, *arguments):
    with pytest.raises(UserError) as caught:
        call(*arguments)
    return str(caught.value)


def scored(name):
    return own_scorer(ScorerSettings(function=name)).score([Exchange("Hi", "raw", "there")])


def test_an_error_in_a_partition_names_the_function_and_the_innermost_line_of_its_file(module):
    name = module(RAISES)
    assert refused(partition, 6, f"{name}:parts") == (
        f"The partition '{name}:parts' raised ZeroDivisionError: division by zero ({name}.py, line 5: "
        "return 1 / (count - count)). Fix the function; it is called with n_layers and blocks."
    )
    assert f"SystemExit: no such model ({name}.py, line 13: " in refused(partition, 6, f"{name}:ends")
    # The call itself fails, so no line of the user's is to be told.
    told = refused(partition, 6, f"{name}:alone")
    assert re.search(r"TypeError: alone\(\) takes 1 positional argument but 2 were given\. Fix", told)


def test_an_error_in_a_scorer_does_so_too(module):
    name = module(RAISES)
    assert refused(scored, f"{name}:score") == (
        f"The scorer '{name}:score' raised ZeroDivisionError: division by zero ({name}.py, line 5: "
        "return 1 / (count - count)). Fix the function; what it scored before is kept."
    )
    assert refused(scored, f"{name}:long") == (
        f"The scorer '{name}:long' (long) returned 2 values for 1 responses. Return one for each. "
        f"The function is in {name}.py, line 24."
    )
    assert "for response 1 of 1. Return a finite number" in refused(scored, f"{name}:huge")


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ("None", "returned None. Return a mapping of block names to layers"),
        ("{}", "returned {}. Return a mapping"),
        ("[[0, 1], [2]]", "returned [[0, 1], [2]]. Return a mapping"),
        ("{1: [0]}", "returned a block with the name 1."),
        ("{' ': [0]}", "returned a block with the name ' '."),
        ("{'a': '0-3'}", "returned '0-3' for the block 'a'. Return a range or a list of whole numbers."),
        ("{'a': 3}", "returned 3 for the block 'a'. Return a range"),
        ("{'a': [0, 1.5]}", "returned [0, 1.5] for the block 'a'. Return a range"),
        ("{'a': (1 // 0 for _ in 'x')}", "for the block 'a'. Return a range"),
        ("{'a': []}", "returned [] for the block 'a', which has no layer."),
        ("{'a': [0, 2, 2]}", "returned [0, 2, 2] for the block 'a', which names layer 2 twice."),
        ("{'a': [0], 'b': [0]}", "returned blocks that do not fit. Layer 0 is in two blocks, 'a' and 'b'."),
        (
            "{'a': [6]}",
            "returned blocks that do not fit. Block 'a' names layer 6, but the model has 6 layers",
        ),
        ("{'full': [1]}", "returned blocks that do not fit. A block may not be called 'full'"),
    ],
)
def test_a_wrong_partition_is_told_with_the_functions_name_and_place(module, returned, message):
    name = module(RETURNS.replace("{}", returned))
    told = refused(partition, 6, f"{name}:parts")
    assert told.startswith(f"The partition '{name}:parts' returned ")
    assert message in told
    assert told.endswith(f" The function is in {name}.py, line 1.")


def test_numpy_numbers_and_layers_in_any_order_are_read(module):
    name = module("import numpy\n" + RETURNS.replace("{}", "{'a': numpy.array([2, 0, 1]), 'b': {3, 5}}"))
    assert partition(6, f"{name}:parts") == {"a": range(3), "b": (3, 5)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "1 / 0\n",
            "its module raises ZeroDivisionError: division by zero ({}.py, line 1: 1 / 0). Fix it there.",
        ),
        ("def parts(:\n", "its module raises SyntaxError: invalid syntax ({}.py, line 1). Fix it there."),
        (
            "raise SystemExit(2)\n",
            "its module raises SystemExit: 2 ({}.py, line 1: raise SystemExit(2)). Fix it there.",
        ),
        ("parts = 3\n", "is not a function but int."),
    ],
)
def test_a_module_that_fails_is_told_with_its_line(module, text, message):
    name = module(text)
    told = refused(import_function, "partition", f"{name}:parts")
    assert told.startswith(
        f"{'The' if text.startswith('parts') else 'Cannot import the'} partition '{name}:parts'"
    )
    assert told.endswith(message.format(name))


def test_code_is_named_with_its_file_before_it_is_imported_and_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "__init__.py").write_text("import sys\nprint('runs', file=sys.stderr)\n")
    (tmp_path / "lab" / "announced.py").write_text("def halves(n_layers, blocks): ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for _ in range(2):
        import_function("partition", "lab.announced:halves")
    file = tmp_path / "lab" / "announced.py"
    assert capsys.readouterr().err == f"This recipe runs code: partition lab.announced:halves, {file}\nruns\n"


def test_no_code_refuses_a_function_before_anything_of_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "forbidden.py").write_text("raise SystemExit('ran')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv(NO_CODE, "1")
    with pytest.raises(UserError, match="--no-code"):
        import_function("partition", "forbidden:halves")


@pytest.mark.parametrize("name", ["os:kill", "os.path:join", "shutil:rmtree", "numpy:array"])
def test_functions_that_are_nobody_s_own_are_refused(name: str) -> None:
    with pytest.raises(UserError, match="Name a function of your own"):
        import_function("scorer", name)
