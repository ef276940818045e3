"""The witness: watches every backward and optimizer step, and tells which tensors took part.

It is what the proof in manifest.json rests on. Watching costs no copies: a tensor's version counter goes up
whenever it is written to. Knows nothing of losses or files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn

from stratalign.errors import StudyFailure


class Witness:
    """Watches the tensors of a model while several runs train on it.

    Args:
        named: every parameter of the model, the base's and all adapters'.
        owned: run -> its own tensors by name.
    """

    def __init__(
        self, named: Iterable[tuple[str, nn.Parameter]], owned: Mapping[str, Mapping[str, nn.Parameter]]
    ) -> None:
        self._all = list(named)
        self._owned = {run: {id(p) for p in tensors.values()} for run, tensors in owned.items()}
        self._tensors = {run: dict(tensors) for run, tensors in owned.items()}
        self.seen: dict[str, set[str]] = {run: set() for run in owned}

    @contextmanager
    def backward(self, run: str) -> Iterator[None]:
        """Within the block only the run's own tensors may receive a gradient.

        Raises:
            StudyFailure: another tensor's gradient appeared or changed.
        """
        yield from self._watched(run, _gradient_mark, "received a gradient in the backward pass")

    @contextmanager
    def step(self, run: str) -> Iterator[None]:
        """Within the block only the run's own tensors may change.

        Raises:
            StudyFailure: another tensor was written to.
        """
        yield from self._watched(run, lambda p: p._version, "was changed by the optimizer step")

    def look(self, run: str) -> None:
        """Note which of the run's tensors have a nonzero gradient now."""
        seen = self.seen[run]
        for name, p in self._tensors[run].items():
            if name not in seen and p.grad is not None and bool(p.grad.any()):
                seen.add(name)

    def unseen(self, run: str) -> list[str]:
        """The run's tensors that no step has given a nonzero gradient yet."""
        return [name for name in self._tensors[run] if name not in self.seen[run]]

    def _watched(self, run: str, mark: Callable[[Tensor], object], what: str) -> Iterator[None]:
        own = self._owned[run]
        others = [(name, p, mark(p)) for name, p in self._all if id(p) not in own]
        yield
        for name, p, before in others:
            if mark(p) != before:
                raise StudyFailure(
                    f"Run {run!r}: {name}, which this run does not train, {what}. The study stopped before "
                    "anything of it was recorded; please report this."
                )


def _gradient_mark(p: Tensor) -> object:
    return None if p.grad is None else (id(p.grad), p.grad._version)
