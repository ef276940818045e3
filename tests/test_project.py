"""What the project promises as a whole: light imports, pinned and honest versions, imports that look down only."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
PYTHONS = ["3.10", "3.11", "3.12", "3.13"]


def dependencies(*extras: str) -> list[Requirement]:
    lines = [
        *PROJECT["dependencies"],
        *(line for e in extras for line in PROJECT["optional-dependencies"][e]),
    ]
    found = [Requirement(line) for line in lines]
    return [requirement for requirement in found if requirement.name != PROJECT["name"]]


def pins(file: str, python: str) -> dict[str, Version]:
    """The exact versions that a constraints file gives this Python on Linux; a second line for a name is an error."""
    environment = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux"}
    found: dict[str, Version] = {}
    for line in (ROOT / file).read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        requirement = Requirement(line)
        if requirement.marker and not requirement.marker.evaluate(environment):
            continue
        (only,) = requirement.specifier
        assert only.operator == "==", f"{file} does not pin exactly: {line}"
        name = canonicalize_name(requirement.name)
        assert name not in found, f"{file} pins {name} twice for Python {python}"
        found[name] = Version(only.version)
    return found


@pytest.mark.parametrize("module", ["stratalign", "stratalign.records", "stratalign.errors"])
def test_importing_loads_no_model_library(module: str) -> None:
    code = f"import sys, {module}; print(*sorted({{'torch', 'transformers', 'peft'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")


def test_listing_loads_no_model_library_unless_losses_or_diagnoses_are_asked_for() -> None:
    code = (
        "import sys; from stratalign.cli import main; from stratalign.listing import CATALOGUES\n"
        "for name in sorted(CATALOGUES.keys() - {'losses', 'diagnoses'}):\n"
        "    sys.argv = ['stratalign', 'list', name]\n"
        "    try:\n        main()\n"
        "    except SystemExit as left:\n        assert not left.code\n"
        "print('loaded:', *sorted({'torch', 'transformers', 'peft'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "auto_rgn" in done.stdout
    assert done.stdout.splitlines()[-1] == "loaded:"


@pytest.mark.parametrize("python", PYTHONS)
def test_every_dependency_is_pinned_to_a_version_that_the_project_allows(python: str) -> None:
    pinned = pins("constraints.txt", python)
    builders = [Requirement(line) for line in PYPROJECT["build-system"]["requires"]]
    for requirement in [*dependencies("verify", "tasks", "quantized", "peers", "dev"), *builders]:
        version = pinned.get(canonicalize_name(requirement.name))
        assert version is not None, f"constraints.txt has no pin for {requirement.name} on Python {python}"
        assert version in requirement.specifier, (
            f"constraints.txt pins {version}, pyproject.toml asks {requirement}"
        )


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12"])
def test_each_lower_bound_is_what_the_oldest_set_installs(python: str) -> None:
    pinned = pins("constraints-oldest.txt", python)
    for requirement in dependencies("verify", "png"):
        if requirement.name == "torch":  # its floor is tested on GPU machines; see constraints-oldest.txt
            continue
        floors = [Version(s.version) for s in requirement.specifier if s.operator == ">="]
        assert floors == [pinned[canonicalize_name(requirement.name)]], str(requirement)


def test_the_installed_version_is_the_one_that_pyproject_states() -> None:
    assert importlib.metadata.version("stratalign") == PROJECT["version"]


def test_the_changelog_starts_with_what_is_unreleased_and_goes_on_with_this_version() -> None:
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert headings[1:2] in ([], [PROJECT["version"]])


def test_imports_look_down_only() -> None:
    command = shutil.which("lint-imports", path=sysconfig.get_path("scripts"))
    assert command, "lint-imports is not installed beside this Python"
    done = subprocess.run(
        [command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_room_has_its_place_in_the_import_picture() -> None:
    layers = PYPROJECT["tool"]["importlinter"]["contracts"][0]["layers"]
    placed = {room.strip().removeprefix("stratalign.") for line in layers for room in line.split("|")}
    found = [*ROOT.glob("src/stratalign/*.py"), *ROOT.glob("src/stratalign/*/__init__.py")]
    rooms = {path.parent.name if path.name == "__init__.py" else path.stem for path in found}
    assert rooms - {"stratalign", "__main__"} <= placed


def test_every_verb_of_the_command_line_is_a_public_function():
    from stratalign.cli.verbs import app

    verbs = {command.name or command.callback.__name__ for command in app.registered_commands}
    assert verbs >= {
        "init",
        "plan",
        "study",
        "train",
        "generate",
        "judge",
        "pairs",
        "report",
        "diagnose",
        "verify",
        "audit",
        "merge",
        "power",
        "list",
    }
    import stratalign

    assert all(callable(getattr(stratalign, verb)) for verb in verbs)
    assert stratalign.list is stratalign.catalogues
