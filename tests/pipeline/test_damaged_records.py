"""Records of a finished study, damaged in every way that we could think of: repaired, or refused in words.

Each case damages one file and then reports and resumes the study in this process. Allowed are the results of the
undamaged study, byte for byte, and a message that names the file. A traceback, or other results, is a fault.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from whole_study import FakeServer, whole_recipe, whole_study

from tiny_models import small_recipe

sys.path.insert(0, str(Path(__file__).parents[1] / "cli"))
from command_line import call

CASES = 300
QUICK = 29
"""Cases of the default tests, one for each record of the study; the rest are marked slow."""

UNFINISHED = ("trained", "proof", "tuned", "candidate_of", "values")
"""Keys of a run in the manifest that are not there before something has happened: a study without is unfinished. Nor
can it be told that a partition has a block less: its names are the user's."""

HASHED = ("adapter_config.json", "adapter_model.safetensors")
"""Files of an adapter that was proven: a report on others says that they have changed, and proves nothing of them."""


class Finished:
    """The study, what it gives, and copies of it to damage."""

    def __init__(self, recipe: Path, folder: Path) -> None:
        self.recipe = recipe
        self.folder = folder
        self.results = outcome(folder)

    def records(self) -> list[str]:
        """Every record by name, without what is made anew each time and read by nobody."""
        made = ("tables", "figures", "timings", "results.json", "recommendation.json", "report.html", ".lock")
        files = [file.relative_to(self.folder) for file in self.folder.rglob("*") if file.is_file()]
        return sorted(
            str(file)
            for file in files
            if file.parts[0] not in made and not file.name.endswith(("-wal", "-shm", "README.md"))
        )


def outcome(folder: Path) -> dict[str, bytes]:
    """What a study found: results, recommendation and tables; no times."""
    files = [folder / "results.json", folder / "recommendation.json", *(folder / "tables").glob("*")]
    return {file.name: file.read_bytes() for file in sorted(files)}


@pytest.fixture(scope="module")
def finished(
    make_model: Callable[..., Path], transcripts: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Finished]:
    beside = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch, FakeServer() as server:
        patch.syspath_prepend(beside)
        recipe = whole_recipe(
            beside, server, lambda **changes: {**small_recipe(make_model("llama"), transcripts), **changes}
        )
        yield Finished(recipe, whole_study(recipe, beside / "out"))


# What may happen to a value, a line, a text or a file.

Path_ = tuple[Any, ...]


def inner(value: Any, path: Path_ = ()) -> Iterator[Path_]:
    """Where there is something inside a JSON value, at most 6 deep."""
    if path:
        yield path
    if len(path) < 6:
        items = (
            value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        )
        for key, item in items:
            yield from inner(item, (*path, key))


def put(value: Any, path: Path_, new: Any) -> Any:
    *above, last = path
    for key in above:
        value = value[key]
    value[last] = new
    return None


def another(value: Any, luck: random.Random) -> Any:
    """A value that cannot stand in that one's place."""
    wrong: list[Any] = [None, [], {}, [[1]], "x", True, float("nan"), 10**40, {"a": 1}]
    if isinstance(value, str):
        wrong.remove("x")
    kinds = (dict, list, str, bool, (int, float))
    mine = next((kind for kind in kinds if isinstance(value, kind)), None)
    return luck.choice([one for one in wrong if mine is None or not isinstance(one, mine)])


def damaged_value(value: Any, luck: random.Random) -> str | None:
    """Damage a JSON value in place; what was done, or None where it stands for an unfinished study."""
    paths = list(inner(value))
    depth = luck.choice(sorted({len(path) for path in paths}))
    path = luck.choice([path for path in paths if len(path) == depth])
    *above, last = path
    owner = value
    for key in above:
        owner = owner[key]
    kind = luck.choice(["missing", "wrong", "extra"])
    if kind == "missing":
        if last in UNFINISHED or above[-1:] == ["partition"]:
            return None
        del owner[last]
    elif kind == "wrong":
        owner[last] = another(owner[last], luck)
    elif isinstance(owner, dict):
        owner["another key"] = "x"
    else:
        owner.append(another(owner[last], luck))
    return f"{kind} at {'.'.join(map(str, path))}"


def damage_json(text: str, luck: random.Random) -> tuple[str, str | None]:
    kind = luck.choice(["value"] * 5 + ["number", "null", "list", "cut", "schema", "empty", "nested"])
    if kind == "value":
        value = json.loads(text)
        done = damaged_value(value, luck)
        return json.dumps(value), done
    if kind == "schema":
        return json.dumps({**json.loads(text), "schema": luck.choice([99, "1", None, 0])}), kind
    whole = {
        "number": "3",
        "null": "null",
        "list": f"[{text}]",
        "cut": text[: luck.randrange(1, len(text) - 2)],
        "empty": "",
        "nested": "[" * 100_000,
    }
    return whole[kind], kind


def damage_lines(text: str, luck: random.Random) -> tuple[str, str | None]:
    lines = text.splitlines()
    at = luck.randrange(len(lines))
    kind = luck.choice(
        ["value"] * 5 + ["number", "null", "cut", "twice", "run", "prompt", "nested", "gone blank"]
    )
    done: str | None = f"{kind} in line {at + 1}"
    if kind == "value":
        row = json.loads(lines[at])
        done = f"{damaged_value(row, luck)} in line {at + 1}"
        lines[at] = json.dumps(row)
    elif kind == "twice":
        lines.insert(luck.randrange(len(lines) + 1), lines[at])
    elif kind in ("run", "prompt"):
        row = json.loads(lines[at])
        key = "run" if kind == "run" else "prompt_id"
        others = {json.loads(line).get(key) for line in lines} - {row.get(key), None}
        lines[at] = json.dumps(row | {key: luck.choice(["another", *sorted(others)])})
    else:
        lines[at] = {
            "number": "3",
            "null": "null",
            "cut": lines[at][: len(lines[at]) // 2],
            "nested": "[" * 100_000,
            "gone blank": "",
        }[kind]
    return "".join(f"{line}\n" for line in lines), done


def damage_table(text: str, luck: random.Random) -> tuple[str, str | None]:
    lines = text.splitlines()
    at = luck.randrange(1, len(lines))
    kind = luck.choice(["header", "nan", "cell", "short", "twice", "run", "prompt", "state", "quote"])
    cells = lines[at].split(",")
    if kind == "header":
        lines[0] = luck.choice([lines[0].replace("cluster", "group"), lines[0] + ",more", lines[1], ""])
    elif kind == "twice":
        lines.insert(luck.randrange(1, len(lines) + 1), lines[at])
    elif kind == "short":
        lines[at] = ",".join(cells[:-2])
    elif kind == "quote":
        lines[at] = '"' + lines[at]
    else:
        column, values = {
            "nan": (8, ["nan", "inf", "-1e999"]),
            "cell": (luck.choice([3, 7, 8]), ["x", "1.5.2", ""]),
            "run": (2, ["another", "mid", "base"]),
            "prompt": (0, ["another", lines[1].split(",")[0]]),
            "state": (9, ["odd", "pending", ""]),
        }[kind]
        cells[column] = luck.choice([one for one in values if one != cells[column]])
        lines[at] = ",".join(cells)
    return "".join(f"{line}\n" for line in lines), f"{kind} in line {at + 1}"


def damage_bytes(data: bytes, luck: random.Random) -> tuple[bytes, str]:
    """For files that are no text: cut, overwritten in places, emptied, another file."""
    kind = luck.choice(["cut", "page", "empty", "other"])
    if kind == "page":
        start = luck.randrange(0, max(1, len(data) - 4096), 4096)
        return data[:start] + luck.randbytes(min(4096, len(data))) + data[start + 4096 :], f"page at {start}"
    return {"cut": data[: len(data) // 2], "empty": b"", "other": b"something else\n" * 40}[kind], kind


def damage(file: Path, luck: random.Random) -> str | None:
    """Damage a file; what was done, or None where the rest is as an unfinished study would be."""
    kind = luck.choice(["content"] * 8 + ["folder", "not UTF-8"])
    if kind == "folder":
        file.unlink()
        file.mkdir()
        return kind
    data = file.read_bytes()
    if kind == "not UTF-8" and file.suffix in (".json", ".jsonl", ".csv", ".yaml"):
        at = luck.randrange(len(data) - 1)
        file.write_bytes(data[:at] + b"\xff\xfe" + data[at:])
        return f"{kind} at {at}"
    ways = {".json": damage_json, ".jsonl": damage_lines, ".csv": damage_table}
    if file.suffix == ".yaml":
        file.write_text(
            luck.choice(["", "3\n", "- a\n", "a: [\n", "conditions: 3\n", "seeds: [x]\n", "[" * 5_000])
        )
        return file.read_text()[:20]
    if file.suffix in ways and data.strip():
        text, done = ways[file.suffix](data.decode(), luck)
        file.write_text(text)
        return done
    new, done = damage_bytes(data, luck)
    file.write_bytes(new)
    return done


def check(finished: Finished, folder: Path, number: int) -> None:
    """One case: what is damaged and how follows from its number alone."""
    luck = random.Random(number)
    records = finished.records()
    name = records[number % len(records)]
    shutil.copytree(finished.folder, folder)
    what = damage(folder / name, luck)
    told = f"case {number}: {name}: {what}"
    verbs = {
        "report": ["report", folder],
        "judge": ["judge", finished.recipe, "--out", folder, "--dry-run"],
        "study": ["study", finished.recipe, "--out", folder],
    }
    for verb, arguments in verbs.items():
        done = call(*arguments)
        said = f"{told}: {verb} left with {done.code}: {done.err[-1500:]}"
        assert "Traceback" not in done.err, said
        if done.code == 0:
            if verb == "report" and Path(name).name in HASHED:
                shown = (folder / "report.html").read_text()
                assert f"{Path(name).name} has changed since it was trained" in shown, said
            elif what is not None and verb != "judge":
                changed = {key for key, now in outcome(folder).items() if now != finished.results.get(key)}
                assert not changed, f"{said}: other {', '.join(sorted(changed))}"
            continue
        assert done.code in (1, 2), said
        assert Path(name).name in done.err or ("adapters" in name and name.split("/")[1] in done.err), said


def test_a_whole_study_has_a_record_of_every_kind(finished: Finished) -> None:
    names = set(finished.records())
    assert {
        "diagnostics/weights.json", "environment.json", "execution.json", "fingerprints.json", "judgements.sqlite",
        "judges.json", "logprobs.jsonl", "manifest.json", "preferences.json", "recipe.yaml", "responses.jsonl",
        "scorers/mine.jsonl", "scores.csv", "timings.json", "training.jsonl", "tuning.json", "validation.jsonl",
        *(f"adapters/mid/{file}" for file in ("adapter_config.json", "adapter_model.safetensors", "stratalign.json")),
    } <= names  # fmt: skip


@pytest.mark.parametrize("number", range(QUICK))
def test_a_damaged_record_is_repaired_or_refused_by_name(
    finished: Finished, tmp_path: Path, number: int
) -> None:
    check(finished, tmp_path / "study", number)


@pytest.mark.slow
def test_so_are_hundreds_of_them(finished: Finished, tmp_path: Path) -> None:
    for number in range(QUICK, CASES):
        check(finished, tmp_path / "study", number)
        shutil.rmtree(tmp_path / "study")
