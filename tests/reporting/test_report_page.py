"""The page: what it says, that hostile text in it is inert, and that half a study still has a page."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path

import pytest
from controlled_studies import controlled_study
from fake_studies import PARTS, answer, full_study, judges, manifest, score, step

from stratalign.errors import UserError
from stratalign.records import StudyFolder, append_jsonl, write_json, write_scores
from stratalign.reporting import report

ATTACKS = [
    "<script>document.title='owned'</script>",
    '"><img src=x onerror="document.title=\'owned\'">',
    "'><svg onload=alert(1)>",
    "</title></style></details><script>alert(1)</script>",
    "{{ 7 * 7 }} {% for x in y %}",
    "<a href=javascript:alert(1)>x</a><iframe src=//evil.example></iframe>",
]


class Parsed(HTMLParser):
    """Every element with its attributes, and the text outside of style sheets."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._style = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._style = tag in ("style", "script")

    def handle_data(self, data: str) -> None:
        if not self._style:
            self.text += data

    def handle_endtag(self, tag: str) -> None:
        self._style = False


def page_of(*folders: Path, out: Path | None = None) -> str:
    return report(list(folders), out).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def ordinary_elements(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The elements of harmless pages: of a finished study, and of one that misses a record."""
    folder = full_study(tmp_path_factory.mktemp("harmless"))
    finished = Parsed(page_of(folder))
    StudyFolder(folder).logprobs.unlink()
    return {tag for tag, _ in finished.elements + Parsed(page_of(folder)).elements}


@pytest.mark.parametrize("attack", ATTACKS)
def test_hostile_text_is_shown_but_inert(tmp_path: Path, ordinary_elements: set[str], attack: str) -> None:
    study = StudyFolder(tmp_path)
    found = manifest(["base", "mid"], name=f"model {attack}")
    found["runs"]["mid"]["proof"]["checks"]["gradient_seen"]["detail"] = f"detail {attack}"
    found["runs"]["mid"]["proof"]["checks"][f"check {attack}"] = {"holds": False, "detail": ""}
    other = {"condition": f"condition {attack}", "layers": [1], "targets": [attack]}
    found["runs"][f"run {attack}"] = found["runs"]["mid"] | other
    write_json(study.manifest, found)
    study.recipe.write_text(
        json.dumps({"preferences": {"source": f"source {attack}", "objective": [attack]}})
    )
    write_json(study.judges, judges(**{f"dimension {attack}": "higher"}))
    write_json(
        study.preferences,
        {
            "rows": {"read": 1, "kept": 0, "bad": 1},
            "parts": PARTS,
            "bad": {attack: {"count": 1, "first_lines": [1]}},
            "notes": {attack: {"count": 1, "first_lines": [1]}},
        },
    )
    runs = ("base", "mid", f"run {attack}")
    append_jsonl(study.training, [step(run, 1, 0.6) for run in runs[1:]])
    append_jsonl(
        study.responses, [answer(run, 0, f"answer {attack} " * 20, f"prompt {attack}") for run in runs]
    )
    write_scores(
        study.scores,
        [score(r, n, at + 0.5, f"dimension {attack}") for at, r in enumerate(runs) for n in range(6)],
    )
    write_json(study.timings, {"runs": {}, "stages": {attack: 1.0}, "host": attack})

    page = Parsed(page_of(tmp_path))
    assert {tag for tag, _ in page.elements} <= ordinary_elements
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")], tag
        assert "src" not in attributes
        assert (attributes.get("href") or "#").startswith("#")
    for where in ("model", "detail", "source", "dimension", "prompt", "answer", "run"):
        assert f"{where} {attack}"[:30] in page.text, where
    for figure in study.figures.glob("*.svg"):
        names = {element.tag.rpartition("}")[2] for element in ElementTree.parse(figure).iter()}
        assert names <= {"svg", "style", "title", "text", "line", "rect", "circle", "polyline"}


def test_the_page_needs_no_network_and_runs_only_its_own_script(tmp_path: Path) -> None:
    page = page_of(full_study(tmp_path))
    assert not re.search(r"https?://|@import|url\(|<link", page)
    elements = Parsed(page).elements
    (policy,) = [a["content"] for _, a in elements if a.get("http-equiv") == "Content-Security-Policy"]
    (nonce,) = {a["nonce"] for _, a in elements if "nonce" in a}
    assert policy == (
        f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    scripts = [a for tag, a in elements if tag == "script"]
    assert scripts == [{"type": "application/json", "id": "data"}, {"nonce": nonce}]


def change_answer(folder: Path, text: str) -> None:
    """What mid answers to the first prompt."""
    file = StudyFolder(folder).responses
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    (one,) = (row for row in rows if (row["run"], row["prompt_id"]) == ("mid", "p0"))
    one["response"] = text
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_the_nonce_depends_on_what_the_page_says(tmp_path: Path) -> None:
    one, two = full_study(tmp_path / "one", ("base", "mid")), full_study(tmp_path / "two", ("base", "mid"))
    report([one])
    change_answer(two, "another")
    nonces = {re.findall(r'nonce="(\w+)"', page_of(folder))[0] for folder in (one, one, two)}
    assert len(nonces) == 2


def test_the_answer_says_what_suffices_and_what_cannot_be_told(tmp_path: Path) -> None:
    study = StudyFolder(tmp_path)
    conditions = ["base", "full", "mid", "local"]
    write_json(study.manifest, manifest(conditions))
    write_json(study.judges, judges(fluency="higher", repetition="lower"))
    study.recipe.write_text("preferences: {objective: [fluency]}\nconditions: [base, full, mid, local]\n")
    fluency = {"base": 1.0, "full": 2.0, "mid": 3.0, "local": 1.0}
    repetition = {"base": 0.0, "full": 1.0, "mid": 0.0, "local": 0.0}
    write_scores(
        study.scores,
        [score(run, n, values[run], name) for run in conditions for n in range(8)
         for name, values in (("fluency", fluency), ("repetition", repetition))],
    )  # fmt: skip
    text = " ".join(Parsed(page_of(tmp_path)).text.split())
    # Eight clusters, all one way: p = 2 / 256. Of three tests two are such, so Holm p is 3 x 2 / 256 = 0.023; of
    # three pairs two are, with 3 x 2 / 256 = 0.023. mid and full tie against base, and mid is always above full.
    assert (
        "Training mid suffices to do better than base on fluency (net win rate +1.00 [+1.00, +1.00], Holm p 0.023), "
        "the highest of 3 candidates. Training full suffices too; for local this sample cannot tell. "
        "Head to head, mid beats full and local."
    ) in text
    assert "full: pays on repetition (−1.00, Holm p 0.023)" in text
    assert "lives here" not in text


def test_the_judged_protocol_comes_first_and_the_other_is_folded(tmp_path: Path) -> None:
    page = Parsed(page_of(controlled_study(tmp_path)))
    text = " ".join(page.text.split())
    judged, beside = (
        text.index("Judged by microworld."),
        text.index("Also measured: text, which decides nothing"),
    )
    assert judged < text.index("claim_accuracy ↑") < beside < text.index("reward_accuracy ↑")
    assert "Head to head: every pair of conditions" in text[judged:beside]
    figures = (tmp_path / "figures" / "net_win_rate.svg").read_text()
    assert "claim_accuracy" in figures
    assert "reward_accuracy" not in figures


def test_several_studies_open_with_the_winner_of_each(tmp_path: Path) -> None:
    one, two = full_study(tmp_path / "one"), controlled_study(tmp_path / "two", {})
    page = Parsed(page_of(one, two))
    overview = " ".join(page.text[: page.text.index("Every study stands for itself")].split())
    assert re.search(r"onetiny/modelmicroworld:fluencyfluency: full \+0\.\d\d \[", overview)
    assert "twotiny/modelpairs.jsonlclaim_accuracy: cannot tell" in overview
    links = [a["href"] for tag, a in page.elements if tag == "a"]
    assert links == ["#study-1", "#study-2"]


def test_a_half_finished_study_has_a_page_that_says_what_is_missing(tmp_path: Path) -> None:
    study = StudyFolder(tmp_path)
    found = manifest(["base", "mid", "full"])
    for run in ("mid", "full"):
        del found["runs"][run]["proof"]
        found["runs"][run]["phases"] = [{"first_step": 0, "steps": 10, "modules": {}}]
    write_json(study.manifest, found)
    append_jsonl(study.training, [step("mid", at, 0.69 - at / 100) for at in range(4)])
    with study.training.open("a") as file:
        file.write('{"run": "mid", "step": 4, "lo')  # torn by an interruption
    text = " ".join(Parsed(page_of(tmp_path)).text.split())
    assert "No answer yet: no answers have been judged yet." in text
    assert "scores.csv is not there yet" in text
    assert "mid has 4 of its 10 steps." in text
    assert "full has 0 of its 10 steps." in text
    assert "full and mid have not been proven yet." in text
    assert sorted(path.name for path in study.figures.iterdir()) == ["layers.svg", "loss.svg"]
    results = json.loads(study.results.read_text())
    assert results["comparisons"] == []
    assert "mid has 4 of its 10 steps." in results["missing"]
    assert [run["proven"] for run in results["runs"]] == [True, None, None]


def test_a_recipe_alone_has_a_page(tmp_path: Path) -> None:
    StudyFolder(tmp_path).recipe.write_text(
        "model: {base: tiny, adapter: ../sft}\npreferences: {source: hub/set}\n"
    )
    page = page_of(tmp_path)
    assert "base tiny, adapter sft" in page
    assert "manifest.json is not there yet" in page


def test_a_finished_study_misses_nothing(tmp_path: Path) -> None:
    page = page_of(full_study(tmp_path))
    assert "not finished" not in page
    assert "own plus shared: an estimate, not a measurement" in page
    assert "chosen equals rejected" in page


def test_runs_that_are_behind_are_named(tmp_path: Path) -> None:
    study = StudyFolder(full_study(tmp_path, ("base", "mid")))
    write_scores(
        study.scores, [score(run, n, 1.0) for run, most in (("base", 5), ("mid", 3)) for n in range(most)]
    )
    assert "mid has 3 of 5 judged answers." in page_of(tmp_path)


def test_several_studies_share_one_page_and_keep_their_own_numbers(tmp_path: Path) -> None:
    one, two = full_study(tmp_path / "one"), full_study(tmp_path / "two", ("base", "mid"), seeds=(0, 1))
    path = report([one, two])
    assert path == tmp_path / "report.html"
    page = Parsed(path.read_text())
    assert [a["id"] for tag, a in page.elements if tag == "article"] == ["study-1", "study-2"]
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    assert (one / "results.json").exists()
    assert (two / "figures" / "loss.svg").exists()
    assert not (one / "report.html").exists()
    assert "mid@1" in page.text


def test_curves_are_said_to_share_batches_as_far_as_the_recipe_has_them_share(tmp_path: Path) -> None:
    folder = full_study(tmp_path, ("base", "mid"), seeds=(0, 1))
    recipe = StudyFolder(folder).recipe
    assert "All runs see the same batches in the same order" in page_of(folder)
    recipe.write_text(recipe.read_text() + "seeds_vary: [init, order]\n")
    assert "Runs of one seed see the same batches in the same order" in page_of(folder)
    recipe.write_text(recipe.read_text().replace("seeds: [0, 1]", "seeds: [0]"))
    assert "All runs see the same batches in the same order" in page_of(folder)


def test_the_page_goes_where_it_is_told(tmp_path: Path) -> None:
    folder = full_study(tmp_path / "study", ("base", "mid"))
    assert report([folder]) == folder / "report.html"
    assert report([folder], tmp_path / "mine.html") == tmp_path / "mine.html"
    assert report([folder], tmp_path) == tmp_path / "report.html"


def test_the_same_study_gives_the_same_bytes_twice(tmp_path: Path) -> None:
    folder = full_study(tmp_path, seeds=(0, 1))
    first = {path: path.read_bytes() for path in [report([folder]), *folder.rglob("*")] if path.is_file()}
    report([folder])
    assert {path: path.read_bytes() for path in first} == first


def test_an_answer_with_a_lone_surrogate_does_not_stop_the_report(tmp_path: Path) -> None:
    change_answer(full_study(tmp_path, ("base", "mid")), "a\ud800b")
    assert "a?b" in page_of(tmp_path)


def test_a_folder_that_is_no_study_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a study: it has neither"):
        report([tmp_path])
    with pytest.raises(UserError, match="is not a folder"):
        report([tmp_path / "nowhere"])
    with pytest.raises(UserError, match="one or more study folders"):
        report([])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("recipe.yaml", "a: [1"),
        ("manifest.json", "{"),
        ("training.jsonl", "{}\n"),
        ("responses.jsonl", "{\n"),
    ],
)
def test_a_damaged_record_is_named(tmp_path: Path, name: str, content: str) -> None:
    write_json(StudyFolder(tmp_path).manifest, manifest(["base"]))
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=name):
        report([tmp_path])
