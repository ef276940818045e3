"""One row of the long table of scores, from the record that was scored. Knows nothing of how values come about."""

from __future__ import annotations

from stratalign.records import LogProbRecord, Response, Score


def score_row(
    record: Response | LogProbRecord, seed: int, protocol: str, dimension: str, value: float | None
) -> Score:
    """The score of a judge that needs no model and asks once; no value is "undefined"."""
    return Score(
        prompt_id=record.prompt_id,
        cluster=record.cluster,
        run=record.run,
        seed=seed,
        judge=protocol,
        protocol=protocol,
        dimension=dimension,
        repeat=0,
        value=value,
        state="undefined" if value is None else "ok",
    )
