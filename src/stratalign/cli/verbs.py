"""Every verb of the command line: reads its arguments, calls the public function of the same name, prints."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

import stratalign as sa
from stratalign.cli import (
    demo_words,
    diagnoses,
    judges,
    plan_tables,
    power_tables,
    printing,
    study_tables,
    terminal,
)
from stratalign.dotted import NO_CODE
from stratalign.records import StudyFolder

app = typer.Typer(
    help="Which layers should preference training touch? One pass, every candidate, error bars.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

RecipeFile = Annotated[Path, typer.Argument(metavar="RECIPE.yaml", help="The recipe of the study.")]
Changes = Annotated[
    list[str],
    typer.Option("--set", metavar="KEY.PATH=VALUE", help="Change one key of the recipe; repeatable."),
]
Out = Annotated[
    Path | None, typer.Option("--out", help="The study's folder. [default: studies/<recipe's name>]")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]


def _say_version(asked: bool) -> None:
    if asked:
        terminal.say(f"stratalign {sa.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version, and stop."),
    ] = False,
    no_code: Annotated[
        bool,
        typer.Option("--no-code", help="Refuse recipes that name functions or task files; with every verb."),
    ] = False,
) -> None:
    """Options of every verb."""
    if no_code:
        os.environ[NO_CODE] = "1"


@app.command()
def demo(
    full: Annotated[bool, typer.Option("--full", help="All four preference sets and three seeds.")] = False,
    changes: Changes = [],  # noqa: B006
    out: Annotated[Path, typer.Option("--out", help="The folder of the studies and the report.")] = Path(
        "studies/demo"
    ),
    calibration: Annotated[
        bool, typer.Option(help="End with a minute in which layers are looked for that are known to matter.")
    ] = True,
) -> None:
    """Run the whole study on the micro-world, offline: five conditions, four controls; run again to continue."""
    with terminal.progress() as progress:
        shown = sa.demo(out, full, changes, progress, calibration=calibration)
    demo_words.showcase(shown)


@app.command()
def init(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE.yaml", help="The file to write.")],
    model: Annotated[str | None, typer.Option(help="Hub id or folder of the model.")] = None,
    source: Annotated[str | None, typer.Option(help="Preference file, or hub id of a data set.")] = None,
    changes: Changes = [],  # noqa: B006
) -> None:
    """Write a recipe to start from, every key documented."""
    sa.init(recipe, model, source, changes)
    terminal.say(f"Wrote {recipe}. Next: stratalign plan {recipe}")


@app.command()
def plan(
    recipe: RecipeFile,
    changes: Changes = [],  # noqa: B006
    out: Out = None,
    as_json: AsJson = False,
    show: Annotated[
        int, typer.Option(min=0, help="Print so many training rows and prompts as the model reads them.")
    ] = 0,
    axolotl: Annotated[
        str | None,
        typer.Option(
            metavar="CONDITION", help="Print this condition's LoRA keys for Axolotl, and nothing else."
        ),
    ] = None,
) -> None:
    """Check everything that needs no weights, and show what would be trained."""
    if axolotl is not None:
        terminal.text_out(sa.axolotl_config(sa.load_recipe(recipe, changes), axolotl))
        return
    planned = sa.plan(recipe, changes, out).describe(show)
    terminal.json_out(planned) if as_json else plan_tables.plan(planned)


@app.command()
def study(recipe: RecipeFile, changes: Changes = [], out: Out = None) -> None:  # noqa: B006
    """Train, prove, generate, score, compare and report; run again to continue."""
    with terminal.progress() as progress:
        folder = sa.study(recipe, changes, out, progress)
    results = json.loads(folder.results.read_text())
    study_tables.recommendation(json.loads(folder.recommendation.read_text()), folder.path)
    study_tables.results(results)
    study_tables.signatures(results["signatures"], folder.path)
    terminal.say(f"Recommendation: {folder.recommendation}")
    terminal.say(f"Report: {folder.report}")


@app.command()
def train(recipe: RecipeFile, changes: Changes = [], out: Out = None) -> None:  # noqa: B006
    """Train every condition in one pass, and prove what was trained."""
    with terminal.progress() as progress:
        folder = sa.train(recipe, changes, out, progress)
    printing.proofs(folder)


@app.command()
def generate(recipe: RecipeFile, changes: Changes = [], out: Out = None) -> None:  # noqa: B006
    """Answer the held-out prompts with every run, after training what is missing."""
    with terminal.progress() as progress:
        folder = sa.generate(recipe, changes, out, progress)
    terminal.say(f"Answers: {folder.responses}")


@app.command()
def judge(
    recipe: RecipeFile,
    changes: Changes = [],  # noqa: B006
    out: Out = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what judging would take, and ask nobody.")
    ] = False,
    calibrate: Annotated[
        int | None, typer.Option(min=1, metavar="ROWS", help="Judge so many answers twice, to see the judge.")
    ] = None,
    labels: Annotated[
        int | None, typer.Option(min=1, metavar="ROWS", help="Write a blind table for people to score.")
    ] = None,
    max_cost: Annotated[
        float | None, typer.Option(min=0, help="Stop before the judge costs more; needs judge.price.")
    ] = None,
    batch: Annotated[
        bool, typer.Option("--batch", help="Ask through the server's batch interface, and wait.")
    ] = False,
) -> None:
    """Score the answers, after training and answering what is missing; run again to continue."""
    if sum((dry_run, calibrate is not None, labels is not None, batch)) > 1:
        raise sa.UserError(
            "--dry-run, --calibrate, --labels and --batch exclude each other. Give one of them."
        )
    if max_cost is not None:
        changes = [*changes, f"judge.max_cost={max_cost}"]
    if dry_run:
        judges.judging_estimates(sa.estimate_judging(recipe, changes, out))
    elif labels is not None:
        judges.label_files(sa.label_template(recipe, changes, out, items=labels))
    elif calibrate is not None:
        with terminal.progress() as progress:
            found = sa.calibrate_judge(recipe, changes, out, progress, count=calibrate)
        judges.calibration(found)
    else:
        with terminal.progress() as progress:
            folder = sa.judge(recipe, changes, out, progress, batch=batch)
        judges.states(folder)
        terminal.say(f"Scores: {folder.scores}")


@app.command()
def pairs(
    recipe: RecipeFile,
    changes: Changes = [],  # noqa: B006
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="The .jsonl file to write. [default: studies/<recipe's name>-pairs.jsonl]"
        ),
    ] = None,
) -> None:
    """Make preferences: sample answers of the base, score them, and pair those that differ in one dimension."""
    with terminal.progress() as progress:
        made = sa.pairs(recipe, changes, out, progress)
    printing.pairs(made)


@app.command()
def report(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Study folders, finished or not.")],
    out: Annotated[Path | None, typer.Option("--out", help="The page's file, or a folder for it.")] = None,
) -> None:
    """Write results, tables, figures and one page over one or several studies."""
    page = sa.report(folders, out)
    for study in map(StudyFolder, folders):
        answer = json.loads(study.recommendation.read_text())
        study_tables.recommendation(answer, study.path, study.path.resolve().name if len(folders) > 1 else "")
        study_tables.signatures(json.loads(study.results.read_text())["signatures"], study.path)
    terminal.say(f"Report: {page}")


@app.command()
def diagnose(
    kind: Annotated[
        str, typer.Argument(metavar="KIND", help="What to look at; `stratalign list diagnoses`.")
    ],
    recipe: RecipeFile,
    changes: Changes = [],  # noqa: B006
    out: Out = None,
    run: Annotated[
        str | None, typer.Option(metavar="NAME", help="Look at this trained run of the study.")
    ] = None,
    adapter: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Look at this PEFT adapter in place of a run.")
    ] = None,
    tuned: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL", help="significance, deltas: a fully trained checkpoint in place of a run."
        ),
    ] = None,
    stages: Annotated[
        bool,
        typer.Option(
            "--stages", help="gradients: before, during and after the training that significance keeps."
        ),
    ] = False,
    against: Annotated[
        list[str],
        typer.Option(
            "--against", metavar="SOURCE", help="gradients: another preference source beside; repeatable."
        ),
    ] = [],  # noqa: B006
    labels: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="probes: a .jsonl of prompt_id or text, and label, to probe for."),
    ] = None,
    compare: Annotated[
        Path | None,
        typer.Option(metavar="OTHER.json", help="significance: how far another record agrees."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Look into the model with an instrument (`stratalign list diagnoses`); leaves a record for selectors."""
    folder = None if adapter is None else str(adapter)
    options = {
        "run": run,
        "adapter": folder,
        "tuned": tuned,
        "against": against,
        "stages": stages,
        "labels": labels,
    }
    given = {key: value for key, value in options.items() if value}
    with terminal.progress(quiet=as_json) as progress:
        found = sa.diagnose(kind, recipe, changes, out, progress, compare=compare, **given)
    if as_json:
        terminal.json_out(found.record if found.agreement is None else found.agreement)
        return
    diagnoses.show(found)


@app.command()
def verify(
    recipe: RecipeFile,
    changes: Changes = [],  # noqa: B006
    steps: Annotated[
        int, typer.Option(min=printing.FEWEST_STEPS, help="Optimizer steps; the time grows with them.")
    ] = 12,
    learning_rate: Annotated[float, typer.Option(help="High enough for the loss to move.")] = 1e-3,
    as_json: AsJson = False,
) -> None:
    """Train a few steps with stock TRL + PEFT and with ours on your model, and print the differences.

    Both train in float32, whatever training.precision says.
    Time grows with steps times conditions: TRL trains one condition after another.
    Where differences exceed fixed tolerances, ours trains again in float64, to see what rounding explains.

    Exit code 0 where they agree, 1 where they differ or it cannot be told.
    """
    with terminal.progress(quiet=as_json) as progress:
        parity = sa.verify(recipe, changes, steps=steps, learning_rate=learning_rate, progress=progress)
    terminal.json_out(parity.to_json()) if as_json else printing.parity(parity.to_json())
    if parity.outcome != "agrees":
        raise typer.Exit(1)


@app.command()
def audit(
    adapters: Annotated[
        list[str], typer.Argument(metavar="ADAPTER...", help="PEFT adapter folders or hub ids.")
    ],
    base: Annotated[
        str | None,
        typer.Option(help="Their base model, to check against. [default: the one named, if it is a folder]"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List what existing adapters touch, by layer and module, and where their configuration says otherwise."""
    found = [sa.audit(adapter, base).to_json() for adapter in adapters]
    if as_json:
        terminal.json_out(found[0] if len(found) == 1 else found)
        return
    for one in found:
        if len(found) > 1:
            terminal.say(f"{one['adapter']}:")
        printing.audit(one)


@app.command()
def merge(
    adapter: Annotated[str, typer.Argument(metavar="ADAPTER", help="A PEFT adapter folder, or a hub id.")],
    out: Annotated[Path, typer.Option("--out", help="A new folder for the model.")],
    base: Annotated[
        str | None, typer.Option(help="Folder or hub id of the base. [default: the one the adapter names]")
    ] = None,
) -> None:
    """Write base plus adapter as a plain Hugging Face model."""
    terminal.say(f"Model: {sa.merge(adapter, out, base)}")


@app.command()
def power(
    prompts: Annotated[int | None, typer.Option(metavar="N", help="How many prompts there are.")] = None,
    effect: Annotated[
        float | None, typer.Option(metavar="D", help="Mean difference to look for, in the scale's unit.")
    ] = None,
    net_win_rate: Annotated[
        float | None, typer.Option(metavar="D", help="Net win rate to look for, -1 to 1.")
    ] = None,
    sd: Annotated[
        float | None, typer.Option(metavar="SD", help="Standard deviation of one condition's scores.")
    ] = None,
    correlation: Annotated[
        float | None,
        typer.Option(
            metavar="R", help="Of two conditions' scores of one prompt. [default: several are shown]"
        ),
    ] = None,
    ties: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="Prompts that score alike. [default: several are shown]"),
    ] = None,
    cluster_size: Annotated[
        float | None, typer.Option(metavar="M", help="Mean number of prompts in a cluster. [default: 1]")
    ] = None,
    icc: Annotated[
        float | None, typer.Option(metavar="R", help="Correlation of differences within a cluster.")
    ] = None,
    tests: Annotated[
        int | None, typer.Option(metavar="M", help="Tests that share alpha (Holm). [default: 1]")
    ] = None,
    power: Annotated[float, typer.Option(help="Probability of finding the difference.")] = 0.8,
    alpha: Annotated[float, typer.Option(help="Two-sided level of all tests together.")] = 0.05,
    study: Annotated[
        Path | None,
        typer.Option(
            "--from", metavar="DIR", help="A finished or pilot study: what it could see, what it would need."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """How many prompts a difference needs, and what a number of prompts can see."""
    found = sa.power(
        prompts,
        effect=effect,
        net_win_rate=net_win_rate,
        sd=sd,
        correlation=correlation,
        ties=ties,
        cluster_size=cluster_size,
        icc=icc,
        tests=tests,
        power=power,
        alpha=alpha,
        study=study,
    ).to_json()
    terminal.json_out(found) if as_json else power_tables.power(found)


@app.command(name="list")
def list_names(
    catalogue: Annotated[str | None, typer.Argument(help="One catalogue only.")] = None,
    as_json: AsJson = False,
) -> None:
    """List everything that a recipe can name."""
    found = sa.catalogues(catalogue)
    terminal.json_out(found) if as_json else printing.catalogues(found)
