"""A study's folder that came from somebody else: no verb overwrites, truncates or removes anything outside of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stratalign.errors import UserError
from stratalign.judging.store import Store
from stratalign.records import (
    StudyFolder,
    append_jsonl,
    locked,
    refuse_foreign,
    replacing_folder,
    write_bytes,
    write_json,
)

FILES = (
    ".lock", "bad_rows.jsonl", "environment.json", "execution.json", "fingerprints.json", "judgements.sqlite",
    "judgements.sqlite-journal", "judgements.sqlite-shm", "judgements.sqlite-wal", "judges.json", "logprobs.jsonl",
    "manifest.json", "preferences.json", "recipe.yaml", "recommendation.json", "report.html", "responses.jsonl",
    "results.json", "scores.csv", "timings.json", "training.jsonl", "tuning.json", "validation.jsonl",
)  # fmt: skip
FOLDERS = (
    "adapters", "checkpoints", "diagnostics", "figures", "labels", "scorers", "tables", "timings",
)  # fmt: skip
INSIDE = (
    "adapters/mid", "adapters/mid/README.md", "adapters/mid/adapter_model.safetensors", "checkpoints/generation.json",
    "checkpoints/training.safetensors", "diagnostics/profile", "diagnostics/significance.json", "labels/labels.csv",
    "scorers/mine.jsonl", "tables/scores.csv", "timings/times.csv",
)  # fmt: skip


def linked(study: Path, name: str, target: Path) -> Path:
    """The study with a link of that name."""
    place = study / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)
    return place


def test_the_names_above_are_all_that_a_study_has(tmp_path):
    places = {place.name: is_folder for place, is_folder in StudyFolder(tmp_path).places()}
    assert places == dict.fromkeys(FILES, False) | dict.fromkeys(FOLDERS, True)


@pytest.mark.parametrize("name", [*FILES, *FOLDERS, *INSIDE])
def test_a_link_inside_a_study_is_refused_by_name_wherever_it_leads(tmp_path, name):
    for number, target in enumerate(
        (tmp_path / "file", tmp_path / "folder", tmp_path / "nowhere", Path(".."))
    ):
        (tmp_path / "folder").mkdir(exist_ok=True)
        (tmp_path / "file").write_text("precious")
        study = tmp_path / f"study-{number}"
        study.mkdir()
        place = linked(study, name, target)
        with pytest.raises(UserError, match="is a link to") as caught:
            refuse_foreign(StudyFolder(study))
        assert str(caught.value).startswith(f"{place} is a link to {target}. ")


def test_the_study_itself_may_be_a_link_and_other_names_in_it_are_the_users_own(tmp_path):
    (tmp_path / "disk").mkdir()
    study = linked(tmp_path, "study", tmp_path / "disk")
    linked(study, "data.jsonl", tmp_path / "nowhere")
    refuse_foreign(StudyFolder(study))


def test_what_is_no_file_or_no_folder_is_refused_by_name(tmp_path):
    study = StudyFolder(tmp_path)
    study.responses.mkdir()
    with pytest.raises(UserError, match=r"responses\.jsonl is a folder, but a study has a file of that name"):
        refuse_foreign(study)
    study.responses.rmdir()
    study.tables.write_text("")
    with pytest.raises(UserError, match="tables is not a folder, but a study has a folder of that name"):
        refuse_foreign(study)
    study.tables.unlink()
    os.mkfifo(study.training)  # whoever opened it would wait for ever
    with pytest.raises(UserError, match=r"training\.jsonl is not an ordinary file"):
        refuse_foreign(study)
    study.training.unlink()
    study.scorers.mkdir()
    os.mkfifo(study.scorers / "mine.jsonl")
    with pytest.raises(UserError, match=r"mine\.jsonl is neither a file nor a folder"):
        refuse_foreign(study)


def test_writers_do_not_go_through_a_link_that_comes_after_the_check(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("precious")
    study = tmp_path / "study"
    for name, write in {
        "x.jsonl": lambda place: append_jsonl(place, [{"a": 1}]),
        ".lock": lambda place: locked(place.parent).__enter__(),
    }.items():
        place = linked(study, name, precious)
        with pytest.raises(UserError, match=r"Cannot write .*: it is a link") as caught:
            write(place)
        assert "does not write through links" in str(caught.value)
    write_json(linked(study, "x.json", precious), {"a": 1})
    assert (study / "x.json").read_text() == '{\n  "a": 1\n}\n'
    assert not (study / "x.json").is_symlink()
    with pytest.raises(UserError, match="is a link to"):
        Store(linked(study, "judgements.sqlite", precious))
    with pytest.raises(UserError, match="is a link to"):
        Store(linked(study, "other.sqlite-wal", precious).with_name("other.sqlite"))
    assert precious.read_text() == "precious"


def test_a_folder_is_not_put_in_the_place_of_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "precious").write_text("precious")
    place = linked(tmp_path / "adapters", "mid", tmp_path / "disk")
    with pytest.raises(OSError), replacing_folder(place) as temporary:  # noqa: PT011
        (temporary / "new").write_text("new")
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["precious"]
    assert [path.name for path in (tmp_path / "adapters").iterdir()] == ["mid"]


def test_a_line_file_with_a_second_name_changes_under_one_name_only(tmp_path):
    file, other = tmp_path / "x.jsonl", tmp_path / "copy.jsonl"
    append_jsonl(file, [{"a": 1}])
    os.link(file, other)
    append_jsonl(file, [{"a": 2}])
    assert file.read_text() == '{"a": 1}\n{"a": 2}\n'
    assert other.read_text() == '{"a": 1}\n'


def test_files_have_the_permissions_that_any_new_file_gets(tmp_path):
    before = os.umask(0o027)
    try:
        write_bytes(tmp_path / "x", b"")
        with replacing_folder(tmp_path / "y"):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "y").stat().st_mode & 0o777 == 0o750


KILLED = """
import os, signal, sys
from pathlib import Path
from stratalign.records import replacing_folder, write_bytes
here = Path(sys.argv[1])
def kill(*_):
    os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[2] == "folder":
    with replacing_folder(here / "adapter") as temporary:
        (temporary / "half").write_text("half")
        kill()
os.fsync = kill
write_bytes(here / "x.json", b"half")
"""


@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path, what):
    """The temporary of a process that was killed goes with the next write; one that is being written stays."""
    for _ in range(2):
        subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), what], check=False)
        (left,) = tmp_path.iterdir()  # not two: the second process removed what the first one left
        assert left.name.endswith(".tmp")
    with replacing_folder(tmp_path / "adapter") as living:
        write_bytes(tmp_path / "x.json", b"whole")
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted([living.name, "x.json"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter", "x.json"]


def test_temporary_names_differ_each_time(tmp_path):
    names = set()
    for _ in range(5):
        with replacing_folder(tmp_path / "adapter") as temporary:
            names.add(temporary.name)
    assert len(names) == 5


def test_no_verb_writes_through_a_link(tmp_path, recipe):
    """Through `report`, `plan`, `study` and `diagnose`, with the tables and the line files of a study as links."""
    import stratalign as sa
    from stratalign.recipe import parse_recipe

    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "effects.csv").write_text("precious")
    asked = parse_recipe(recipe())
    for name in ("tables", "responses.jsonl", ".lock", "adapters"):
        study = tmp_path / f"study-{name}"
        study.mkdir()
        (study / "recipe.yaml").write_text("model: m\n")
        linked(study, name, outside if "." not in name else outside / "effects.csv")
        for verb in (
            lambda study=study: sa.report([study]),
            lambda study=study: sa.power(study=study),
            lambda study=study: sa.plan(asked, out=study),
            lambda study=study: sa.study(asked, out=study),
            lambda study=study: sa.diagnose("weights", asked, out=study),
        ):
            with pytest.raises(UserError, match=f"{name} is a link to"):
                verb()
    assert {path.name: path.read_text() for path in outside.iterdir()} == {"effects.csv": "precious"}


def test_a_page_over_two_studies_is_not_written_through_a_link(tmp_path):
    import stratalign as sa

    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "recipe.yaml").write_text("model: m\n")
    (tmp_path / "outside").mkdir()
    linked(tmp_path, "report_files", tmp_path / "outside")
    with pytest.raises(UserError, match="report_files is a link to"):
        sa.report([tmp_path / "a", tmp_path / "b"])
    assert not list((tmp_path / "outside").iterdir())
