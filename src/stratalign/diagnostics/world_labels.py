"""Labels of the micro-world's prompts and answers, from its exact verifiers. Texts in, tasks for probes out.

A prompt that is none of the world's has no labels. Where the thirds of Hierarchical Alignment expect each task is the
paper's division of labour: grammar and form in local, coherence in mid, facts in global.
"""

from __future__ import annotations

from collections.abc import Sequence

from stratalign.diagnostics.probes import Task
from stratalign.microworld import ATTRIBUTES, people, read_request, verifying
from stratalign.microworld.reading import sentences
from stratalign.microworld.verifying import is_true, understand

Labels = tuple[str | None, ...]


def world_tasks(prompts: Sequence[str], responses: Sequence[Sequence[str]]) -> tuple[Task, ...]:
    """The tasks that the world's verifiers give labels for; none where no prompt is of the world.

    Args:
        prompts: [n] texts.
        responses: [n, branches] texts.
    """
    everyone = people()
    asked = [read_request(prompt, everyone) for prompt in prompts]
    if not any(asked):
        return ()
    grammar: list[Labels] = []
    coherence: list[Labels] = []
    claims: list[Labels] = []
    forms: list[Labels] = []
    for request, own in zip(asked, responses, strict=True):
        rows: list[Labels] = []
        for text in own:
            if request is None:
                rows.append((None,) * 4)
                continue
            found = sentences(text)
            said = understand(found, request.person, everyone)
            facts = [one for one in said if one.reading.kind == "claim"]
            rows.append(
                (
                    _yes(verifying.grammar(request, said, len(found)) == 1),
                    _yes(verifying.coherence(said, len(found)) == 1),
                    _yes(all(is_true(one, everyone) for one in facts)) if facts else None,
                    (said[0].reading.attribute or said[0].reading.kind) if said else None,
                )
            )
        for column, values in zip((grammar, coherence, claims, forms), zip(*rows, strict=True), strict=True):
            column.append(values)
    tasks = [
        Task("grammar", "whether every sentence of a response is right", "response", grammar, "local"),
        Task("form", "what the response's first sentence speaks of", "response", forms, "local"),
        Task("coherence", "whether everything in a response holds together", "response", coherence, "mid"),
        Task("claims", "whether every claim of a response is true", "response", claims, "global"),
    ]
    for attribute in ATTRIBUTES:
        known: Labels = tuple(None if r is None else everyone[r.person].facts[attribute][-1] for r in asked)
        about = f"the {attribute} of the person asked about, at the prompt's last token"
        tasks.append(Task(f"fact_{attribute}", about, "prompt", known, "global"))
    return tuple(tasks)


def _yes(right: bool) -> str:
    return "right" if right else "wrong"
