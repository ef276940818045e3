"""Tasks of the lm-evaluation-harness (lm-eval) as scorers: each item of a task is a row, for every run.

The harness asks the loaded base with a run's adapter on; what it logs for each item becomes scores, so that benchmarks
enter the same paired statistics as everything else. Only metrics that the harness averages over items are taken: of
others (perplexity, F1 of a whole task) the value of one item does not mean what the metric's name says. lm-eval is an
optional extra and is imported only here. Knows nothing of recipes or stages.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import io
import json
import logging
import math
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerBase

from stratalign.dotted import announce_code, refuse_code
from stratalign.errors import UserError, unknown_name
from stratalign.models import AdapterBank
from stratalign.records import ASKED, Dimension, Progress, Score, append_jsonl, digest, read_jsonl, silent
from stratalign.scorers.settings import LM_EVAL, ScorerSettings

AVERAGED = ("mean", "nanmean")
"""How the harness forms a task's value from its items' where an item's value means the same."""

Items = dict[str, dict[str, float | None]]
"""Item -> dimension -> value."""


class TaskRun(NamedTuple):
    """A run as tasks see it; `identity` changes when the base or its adapter does."""

    run: str
    seed: int
    identity: str


class TaskScores(NamedTuple):
    """Rows of the long table, and the entries of judges.json that describe them."""

    scores: list[Score]
    judges: list[dict[str, Any]]


def check_tasks(settings: ScorerSettings) -> Any:
    """Make sure that lm-eval is installed and knows the tasks; reads no data. Returns its catalogue.

    Raises:
        UserError: it is not, or does not.
    """
    if importlib.util.find_spec("lm_eval") is None:
        raise UserError("Scorers of kind tasks need lm-eval: pip install 'stratalign[tasks]'.")
    if settings.include_path is not None:
        refuse_code(f"A task file in {settings.include_path!r}")
        announce_code("task files of lm-eval, which may name functions", Path(settings.include_path))
        if not Path(settings.include_path).is_dir():
            raise UserError(
                f"There is no folder {settings.include_path!r}, which include_path of the scorer names. Correct it."
            )
        own = _catalogue(settings, defaults=False)
        if set(settings.tasks or ()) <= set(own.task_index):
            return own
    every = _catalogue(settings, defaults=True)
    for name in settings.tasks or ():
        if name not in every.task_index:
            raise unknown_name(
                "lm-eval task",
                name,
                _near(name, every.all_tasks),
                "`lm_eval ls tasks` lists them; for your own, name their folder in include_path.",
            )
    return every


def score_tasks(
    settings: ScorerSettings,
    runs: Sequence[TaskRun],
    folder: Path,
    load: Callable[[], tuple[AdapterBank, PreTrainedTokenizerBase]],
    progress: Progress = silent,
) -> TaskScores:
    """Every item of every task under every run. What `folder` holds already is not asked again.

    Args:
        settings: which tasks, how many items and examples.
        runs: the runs to ask.
        folder: where answers of the harness are kept, one line for each run and task.
        load: gives the base with the adapters of all runs attached; called only if something is missing.

    Raises:
        UserError: lm-eval is not installed, a task is unknown, its data cannot be had, or it has no metric that is
            averaged over items.
    """
    manager = check_tasks(settings)
    with _told(f"Cannot load the lm-eval tasks {', '.join(settings.tasks or ())}"):
        tasks: dict[str, Any] = manager.load(list(settings.tasks or ()))["tasks"]
        # before they are asked, which writes into their configuration
        hashes = {name: digest(_identity(task, name, settings)) for name, task in tasks.items()}
    file = folder / f"{LM_EVAL}.jsonl"
    there: dict[str, Items] = {row["key"]: row["items"] for row in read_jsonl(file, ASKED)}
    keys = {(one.run, name): digest([one.identity, hashes[name]]) for one in runs for name in tasks}
    missing = [(run, name) for (run, name), key in keys.items() if key not in there]
    if missing:
        bank, tokenizer = load()
        harness = _harness(bank, tokenizer, settings)
        for done, (run, name) in enumerate(missing, start=1):
            key = keys[run, name]
            if key not in there:  # the base sampled anew is the base
                with bank.active(run):
                    there[key] = _ask(harness, manager, tasks[name], name, settings)
                append_jsonl(file, [{"key": key, "task": name, "items": there[key]}])
            progress("tasks", done, len(missing))
    scores = [
        _score(one, name, item, dimension, value)
        for one in runs
        for name in tasks
        for item, values in there[keys[one.run, name]].items()
        for dimension, value in values.items()
    ]
    judges = []
    for name, task in tasks.items():
        found = there[keys[runs[0].run, name]] if runs else {}
        dimensions = list(dict.fromkeys(dimension for values in found.values() for dimension in values))
        judges.append(_described(task, name, dimensions, hashes[name]))
    return TaskScores(scores, judges)


def _score(one: TaskRun, task: str, item: str, dimension: str, value: float | None) -> Score:
    place = f"{task}/{item}"
    state = "undefined" if value is None else "ok"
    return Score(place, place, one.run, one.seed, LM_EVAL, f"{LM_EVAL}:{task}", dimension, 0, value, state)


def _described(task: Any, name: str, dimensions: Sequence[str], identity: str) -> dict[str, Any]:
    better = task.higher_is_better()
    words: dict[bool | None, Any] = {True: "higher", False: "lower", None: None}
    return {
        "judge": LM_EVAL,
        "protocol": f"{LM_EVAL}:{name}",
        "hash": identity,
        "kind": "tasks",
        "dimensions": [
            asdict(
                Dimension(
                    dimension,
                    "",
                    words[better.get(dimension.partition(",")[0])],
                    f"{dimension} of the items of the lm-eval task {name}",
                )
            )
            for dimension in dimensions
        ],
    }


def _identity(task: Any, name: str, settings: ScorerSettings) -> dict[str, Any]:
    """What a run's scores depend on beside the model: the harness, the task's version and examples, and its items."""
    items = list(task.eval_docs)[: settings.limit]
    return {
        "lm_eval": importlib.metadata.version("lm_eval"),
        "task": name,
        "version": str(task.VERSION),
        "shots": settings.shots,
        "config": digest(_plain(task.config.to_dict())),
        "items": digest(_plain(items)),
    }


def _ask(harness: Any, manager: Any, task: Any, name: str, settings: ScorerSettings) -> Items:
    """The harness's values of each item of one task, with whatever adapter is on.

    Raises:
        UserError: it fails, or averages none of the task's metrics over items.
    """
    import lm_eval

    with _told(f"The lm-eval task {name!r} failed"):
        answered = lm_eval.simple_evaluate(
            model=harness,
            tasks=[task],
            num_fewshot=settings.shots,
            limit=settings.limit,
            log_samples=True,
            bootstrap_iters=0,
            task_manager=manager,
        )
    averaged = {
        metric
        for metric, function in task.aggregation().items()
        if getattr(function, "__name__", "") in AVERAGED
    }
    items: Items = {}
    for sample in answered["samples"][name]:
        for metric in sample["metrics"]:
            if metric in averaged:
                chosen = sample["filter"]
                dimension = metric if chosen == "none" else f"{metric},{chosen}"
                items.setdefault(str(sample["doc_id"]), {})[dimension] = _number(sample[metric])
    if not items:
        raise UserError(
            f"The lm-eval task {name!r} has no metric that is averaged over its items (it has "
            f"{', '.join(task.aggregation()) or 'none'}), so it gives no score for an item. Leave it out."
        )
    return items


def _harness(bank: AdapterBank, tokenizer: PreTrainedTokenizerBase, settings: ScorerSettings) -> Any:
    with _told("lm-eval cannot use the model"):
        from lm_eval.models.huggingface import HFLM

        return HFLM(
            pretrained=bank.model, tokenizer=tokenizer, backend="causal", batch_size=settings.batch_size
        )


def _catalogue(settings: ScorerSettings, *, defaults: bool) -> Any:
    """The harness's catalogue of the user's own tasks; with its own too, of which there are over 10,000."""
    with _told("Cannot read lm-eval's tasks"):
        from lm_eval.tasks import TaskManager

        return TaskManager(include_path=settings.include_path, include_defaults=defaults)


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    """Within the block the harness prints nothing, and whatever it raises is told as the user's."""
    log = logging.getLogger("lm_eval")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
            _silent_children(),
        ):
            warnings.simplefilter("ignore")
            yield
    except UserError:
        raise
    except Exception as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), "no reason given")
        raise UserError(
            f"{what}: {type(error).__name__}: {reason.strip().rstrip('.')}. Try it with the `lm_eval` command on the "
            "base model; without a network its data must lie on this machine."
        ) from error
    finally:
        log.setLevel(level)


@contextlib.contextmanager
def _silent_children() -> Iterator[None]:
    """Within the block nothing reaches the process's stderr: the harness asks git for a commit, which may complain."""
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _number(value: object) -> float | None:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _near(name: str, known: Sequence[str]) -> list[str]:
    """Of some ten thousand names those that share their beginning, or the first."""
    alike = [one for one in known if one.split("_")[0] == name.split("_")[0]]
    return (alike or list(known))[:20]


def _plain(value: object) -> Any:
    """As JSON, functions by their names: what a digest can be formed of."""
    return json.loads(json.dumps(value, default=lambda one: getattr(one, "__qualname__", type(one).__name__)))
