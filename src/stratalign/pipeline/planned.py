"""What a plan is: a recipe with everything that follows from it, and what can be said of that.

Knows nothing of how it is made and checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from stratalign.blocks import (
    Blocks,
    ConditionSpec,
    cost_of,
    cost_of_full,
    diagnose_command,
    draws_modules,
    needs_record,
    scores_by,
    single_modules,
)
from stratalign.errors import UserError
from stratalign.generation import Prompt
from stratalign.models import ModelShape, of_adapter
from stratalign.pipeline.execution import Execution
from stratalign.pipeline.fingerprints import Fingerprints, as_stored
from stratalign.pipeline.showing import shown_prompts, shown_rows
from stratalign.pipeline.sizes import size_warnings
from stratalign.pipeline.tuning import Tuned, choices
from stratalign.preferences import BadRow, Split, Tree
from stratalign.recipe import Recipe
from stratalign.records import TUNING, StudyFolder, digest, read_record
from stratalign.training import MicroBatch, Run, plan_steps


@dataclass(frozen=True)
class Plan:
    """A recipe with everything that follows from it.

    `runs` are what is answered for, judged and reported. One of a tuned condition has its candidate's values once that
    is chosen; until then it stands for its name, layers and seed.
    """

    recipe: Recipe
    folder: StudyFolder
    shape: ModelShape
    blocks: Blocks
    runs: tuple[Run, ...]
    parts: Split
    train_trees: tuple[Tree, ...]
    validation_trees: tuple[Tree, ...]
    held_out_trees: tuple[Tree, ...]
    prompts: tuple[Prompt, ...]
    stop: tuple[str, ...]
    steps: list[list[MicroBatch]]
    bad: tuple[BadRow, ...]
    preferences: dict[str, Any]
    execution: Execution
    tokenizer: PreTrainedTokenizerBase
    fingerprints: Fingerprints
    unresolved: tuple[ConditionSpec, ...] = ()
    """Conditions chosen by a record that is not there yet, or that name a block of a partition made by one."""
    partition_by: str | None = None
    """The record that the partition waits for."""
    brought: Mapping[str, Path] = field(default_factory=dict)
    """Records that lie beside the recipe, to be copied into the study's folder when it is set up."""
    turn_end: str | None = None
    """The special token that ends the rows' answers, where the model has another; both end generated answers."""
    tuned: tuple[Tuned, ...] = ()
    chosen: Mapping[str, str] = field(default_factory=dict)
    """Of tuned conditions, the candidate that was chosen, if one was."""

    @property
    def stop_at(self) -> tuple[str, ...]:
        """What ends an answer beside the model's end tokens."""
        return self.stop if self.turn_end is None else (*self.stop, self.turn_end)

    @property
    def ends(self) -> dict[str, str]:
        """What ends an answer, and why."""
        own = [self.tokenizer.eos_token_id, *self.shape.ends]
        ends = {str(self.tokenizer.convert_ids_to_tokens(token)): "end token" for token in own}
        ends |= {} if self.turn_end is None else {self.turn_end: "end of a turn in the rows"}
        return ends | dict.fromkeys(self.stop, "stop text")

    @property
    def candidates(self) -> tuple[Run, ...]:
        """The runs that are trained and measured on validation, and no more."""
        return tuple(run for one in self.tuned for each in one.candidates for run in each.runs)

    @property
    def waiting(self) -> tuple[str, ...]:
        """Tuned conditions of which no candidate is chosen yet."""
        return tuple(one.condition for one in self.tuned if one.condition not in self.chosen)

    @property
    def passes(self) -> int:
        """In how many passes everything is trained from the start: one for each order of the pairs."""
        return len({run.seed_of("order") for run in (*self.runs, *self.candidates) if run.condition.trains})

    def steps_of(self, order: int) -> list[list[MicroBatch]]:
        """The steps of runs whose pairs come in this order (`Run.seed_of`); `steps` are those of order 0."""
        return plan_steps(len(self.train_trees), self.recipe.training, self.recipe.preferences.seed, order)

    def candidate_of(self, run: Run) -> Run | None:
        """The candidate's run that this one is, under the condition's name; None of a run that is trained itself."""
        name = self.chosen.get(run.condition.name)
        return next(
            (one for one in self.candidates if (one.condition.name, one.seed) == (name, run.seed)), None
        )

    @property
    def shares_of_full(self) -> dict[str, dict[str, float]]:
        """Run -> its shares of what training every layer costs with the recipe's targets and rank: of the parameters,
        and of the arithmetic of a step (`blocks/budgets.py` has the model)."""
        training = self.recipe.training
        sites = self.shape.sites
        full = cost_of_full(sites, training.targets, training.rank)
        found = {}
        for run in (*self.runs, *self.candidates):
            chosen = set(run.condition.modules)
            cost = cost_of(sites, [site for site in sites if site.name in chosen], run.condition.rank)
            found[run.id] = dict(zip(("parameters", "arithmetic"), cost.of(full), strict=True))
        return found

    def describe(self, show: int = 0) -> dict[str, Any]:
        """The plan in numbers and names; what `stratalign plan --json` prints.

        Args:
            show: how many training rows and prompts to add as the model reads them.
        """
        shares = self.shares_of_full
        drawn = {spec.name for spec in self.recipe.specs() if draws_modules(spec.selection)}
        return {
            "out": str(self.folder.path),
            "model": {
                "name": self.recipe.model.base,
                "adapter": self.recipe.model.adapter,
                "model_type": self.shape.model_type,
                "layers": self.shape.n_layers,
                "parameters": self.shape.parameters,
                "proven": self.shape.proven,
                "positions": self.shape.positions,
            },
            "partition": {name: list(layers) for name, layers in self.blocks.items()},
            "partition_by": self.partition_by,
            "preferences": self.preferences,
            "max_length": self.recipe.training.max_length,
            "tokenizer_of_adapter": of_adapter(self.tokenizer, self.recipe.model),
            "answers_end_at": self.ends,
            "steps": len(self.steps),
            "passes": self.passes,
            "execution": {
                key: getattr(self.execution, key)
                for key in (
                    "device",
                    "precision",
                    "pack_tokens",
                    "checkpointing",
                    "bytes_per_token",
                    "reference",
                )
            },
            "runs": {
                run.id: {
                    "condition": run.condition.name,
                    "seed": run.seed,
                    "layers": list(run.condition.layers),
                    "targets": list(run.condition.targets),
                    "modules": len(run.condition.modules),
                    "by_kind": {} if run.condition.name in drawn else single_modules(run.condition.modules),
                    "rank": run.condition.rank,
                    "parameters": run.condition.parameters,
                    "of_full": shares[run.id],
                    "labels": run.condition.labels,
                    "phases": len(run.condition.phases),
                }
                | self._told_of_tuning(run)
                for run in self.runs
            },
            "candidates": {
                run.id: {
                    "condition": one.condition,
                    "seed": run.seed,
                    **each.values,
                    "rank": run.condition.rank,
                    "parameters": run.condition.parameters,
                }
                for one in self.tuned
                for each in one.candidates
                for run in each.runs
            },
            "alike": [list(names) for names in self._alike()],
            "unresolved": {spec.name: dict(spec.selection) for spec in self.unresolved},
            "shown": {"rows": shown_rows(self, show), "prompts": shown_prompts(self, show)},
            "warnings": self.warnings,
        }

    @property
    def warnings(self) -> list[str]:
        """How words of other tools in the recipe were read, and whether the study is small."""
        held_out = self.preferences["parts"]["held_out"]
        small = size_warnings(len(self.steps), held_out["rows"], held_out["clusters"])
        return [*self.recipe.notes, *small]

    def _alike(self) -> list[tuple[str, ...]]:
        """Conditions that train the same modules with the same settings, under several names."""
        names: dict[str, list[str]] = {}
        tuned = {one.condition for one in self.tuned}
        for run in self.runs:
            if run.condition.trains and run.condition.name not in tuned and run.seed == self.runs[0].seed:
                made_of = self.fingerprints[f"run {run.condition.name}@{run.seed}"]
                names.setdefault(digest(as_stored(made_of)), []).append(run.condition.name)
        return [tuple(each) for each in names.values() if len(each) > 1]

    def _told_of_tuning(self, run: Run) -> dict[str, Any]:
        one = next((one for one in self.tuned if one.condition == run.condition.name), None)
        if one is None:
            return {}
        name = self.chosen.get(one.condition)
        values = next((dict(each.values) for each in one.candidates if each.name == name), None)
        unknown = {"rank": None, "parameters": None} if values is None and "rank" in one.grid.values else {}
        about = {"by": one.grid.by, "candidates": len(one.candidates), "chosen": name, "values": values}
        return {**unknown, "tuned": about}

    def check_resolved(self) -> None:
        """Raise a UserError, with the command to run, if a condition waits for a record."""
        out = str(self.folder.path)
        for spec in self.unresolved:
            if needs_record(spec):
                scores_by(spec.name, spec.selection, {}, out)
            raise UserError(
                f"Condition {spec.name!r} names a block of a partition by the record {self.partition_by}, which is not "
                f"there yet. Make it first: {diagnose_command(str(self.partition_by), out)}"
            )


def with_choices(plan: Plan) -> Plan:
    """The plan with what tuning.json says of its candidates."""
    if not plan.tuned:
        return plan
    stored = read_record(plan.folder.tuning, TUNING)
    chosen = choices(plan.tuned, stored)
    runs = {run.id: run for run in plan.runs}
    for one in plan.tuned:
        standing = one.become(chosen[one.condition]) if one.condition in chosen else one.standing
        runs |= {run.id: run for run in standing}
    return replace(plan, runs=tuple(runs.values()), chosen=chosen)
