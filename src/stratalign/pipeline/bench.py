"""The bench: a plan, the loaded model and what is to be looked at, for whatever instrument is put to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stratalign.blocks import Site
from stratalign.engine import JointEngine, plan_memory
from stratalign.models import AdapterBank, Difference, LoadedModel, read_difference
from stratalign.pipeline.planned import Plan
from stratalign.pipeline.subjects import Subject


@dataclass(frozen=True)
class Bench:
    """What a diagnosis is made on: the plan, the loaded model, and what is to be looked at: one subject, of some kinds
    several."""

    plan: Plan
    subjects: tuple[Subject, ...]
    loaded: LoadedModel
    bank: AdapterBank

    @property
    def subject(self) -> Subject:
        """The only subject, or the first."""
        return self.subjects[0]

    @property
    def sites(self) -> tuple[Site, ...]:
        """The linear modules that may have an adapter."""
        return tuple(site for site in self.plan.shape.sites if site.frozen is None)

    def engine(
        self,
        run: str,
        first_layer: int,
        share: float = 1.0,
        beside: Sequence[str] = (),
        training: bool = False,
    ) -> JointEngine:
        """An engine for one run, or several from the same layer on."""
        return self.joint_engine(dict.fromkeys((run, *beside), first_layer), share, training)

    def joint_engine(
        self, first_layers: Mapping[str, int], share: float = 1.0, training: bool = True
    ) -> JointEngine:
        """An engine for some runs, which are attached. Activations are kept, not recomputed; `share` leaves memory for
        what else is."""
        engine = JointEngine(self.loaded.anatomy, self.bank, first_layers)
        trees = self.plan.train_trees
        tokens = plan_memory(engine, trees, checkpointing=False, training=training).pack_tokens
        engine.pack_tokens = max(1, int(tokens * share))  # a longer tree is a pack of its own
        return engine

    def attach_subject(self, subject: Subject | None = None) -> Difference | None:
        """Attach a subject's adapter with its tensors, or a checkpoint's difference, which is given back."""
        subject = subject or self.subject
        run = subject.adapter.run
        if subject.tuned is not None:
            names = [site.name for site in self.sites]
            found = read_difference(self.loaded.model, names, subject.tuned)
            self.bank.attach_whole(run, found.updates)
            return found
        self.bank.attach(subject.adapter)
        if subject.folder is not None:
            self.bank.load(run, subject.folder)
        return None
