"""Labels by people: a blind table to fill in, and the filled table as scores.

The table shows prompts and responses under ids that say nothing of the run; a key beside it, which whoever labels
does not need, knows whose they are. Labels enter the long table as the judge "human:<name of the file>".
Knows nothing of how labels and judges are compared.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from stratalign.errors import UserError
from stratalign.judging.protocol import Item, JudgeProtocol
from stratalign.records import (
    LABEL_KEY,
    Response,
    Score,
    digest,
    guarded_cell,
    read_json,
    restored_cell,
    write_bytes,
    write_json,
    write_text,
)

TEXT_COLUMNS = ("item", "prompt", "response")
LONGEST_CELL = 1 << 24


class LabelFiles(NamedTuple):
    """The table to fill in, what its columns mean, and the key that says which run wrote which item."""

    table: Path
    guide: Path
    key: Path


def write_label_template(
    path: Path,
    responses: Sequence[Response],
    seeds: Mapping[str, int],
    protocol: JudgeProtocol,
    items: int,
    *,
    seed: int = 0,
) -> LabelFiles:
    """Write a table with `items` sampled responses and one empty column per dimension, its guide and its key.

    Every run gives as many responses, to one more or less, and as far as possible to the same prompts. The same
    text for the same prompt is one item, whoever wrote it.

    Args:
        path: of the table, a .csv file; beside it <name>.guide.txt and <name>.key.json.
        responses: the answers of all runs.
        seeds: run -> its seed; runs that are not named here are left out.
        protocol: whose dimensions are labelled, on its scale; one response at a time.
        items: how many responses to sample; all are taken where there are fewer.
        seed: of the sample.

    Raises:
        UserError: there is nothing to label, the protocol is pairwise, or a file is there already.
    """
    if protocol.kind != "single":
        raise UserError(
            f"Labels are of single responses; {protocol.id} shows two. Use a protocol of kind single."
        )
    sampled = _sample([one for one in responses if one.run in seeds], items, seed)
    if not sampled:
        raise UserError(
            "There are no responses to label. Generate answers first, and ask for at least one item."
        )
    files = LabelFiles(path, *(path.with_name(f"{path.stem}.{end}") for end in ("guide.txt", "key.json")))
    for file in files:
        if file.exists():
            raise UserError(
                f"{file} is there already and may hold labels. Move it away, or name another file."
            )
    grouped: dict[str, list[Response]] = {}
    for one in sampled:
        grouped.setdefault(item_id(one.prompt, one.response), []).append(one)
    buffer = io.StringIO()
    writer = csv.writer(buffer, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow([*TEXT_COLUMNS, *protocol.names])
    for name, (one, *_) in sorted(grouped.items()):
        texts = (guarded_cell(text.replace("\x00", "\u2400")) for text in (one.prompt, one.response))
        writer.writerow([name, *texts, *("" for _ in protocol.names)])
    key = {
        "schema": 1,
        "protocol": protocol.id,
        "hash": protocol.hash,
        "scale": list(protocol.scale),
        "dimensions": protocol.names,
        "items": {
            name: [
                {"run": one.run, "seed": seeds[one.run], "prompt_id": one.prompt_id, "cluster": one.cluster}
                for one in group
            ]
            for name, group in sorted(grouped.items())
        },
    }
    # Excel takes a file without the mark at its beginning for another encoding than UTF-8.
    write_bytes(files.table, buffer.getvalue().encode("utf-8-sig"))
    write_text(files.guide, _guide(protocol))
    write_json(files.key, key)
    return files


def read_labels(table: Path, key: Path) -> list[Score]:
    """The labels of a filled table, one score for each response, dimension and run that gave that response.

    A cell that is still empty is "pending". Rows may be missing or sorted otherwise, and a table may be a copy under
    another name, so that several people fill in one template.

    Raises:
        UserError: a file is missing or damaged, the table is not the key's, or a label is no integer of the scale.
    """
    known = LABEL_KEY.checked(read_json(key), str(key))
    dimensions, items, protocol = known["dimensions"], known["items"], known["protocol"]
    low, high = known["scale"]
    scores: list[Score] = []
    seen: set[str] = set()
    for line, row in enumerate(_rows(table, dimensions), 2):
        name = row["item"].strip()
        if name not in items or name in seen:
            what = "stands there twice" if name in seen else "is not in the key"
            raise UserError(
                f"{table}, row {line}: the item {name!r:.40} {what}. Keep the ids as they were written."
            )
        seen.add(name)
        for dimension in dimensions:
            value = _label(row[dimension], low, high, f"{table}, row {line}, {dimension}")
            scores += [_score(entry, people(table), protocol, dimension, value) for entry in items[name]]
    return scores


def people(table: Path) -> str:
    """What the long table of scores calls whoever filled in a table."""
    return f"human:{table.stem}"


def item_id(prompt: str, response: str) -> str:
    """The id of a response in a label table: it follows from the texts alone."""
    return digest([prompt, response])[:16]


def _guide(protocol: JudgeProtocol) -> str:
    """What people are told: the words that a model is told, which then judge the same thing."""
    low, high = protocol.scale
    told = protocol.messages(Item("", ("",)))[0]["content"]
    return (
        f"Fill in one integer from {low} to {high} in every column after the response; leave empty what you cannot "
        f"say.\nSave the table as CSV and keep the column of items as it is.\nA model that judges by {protocol.id} "
        f"is told the following. Where it speaks of a reply, yours are the cells.\n\n{told}\n"
    )


def _sample(responses: Sequence[Response], items: int, seed: int) -> list[Response]:
    """In turns one response of each run, prompts in an order drawn from the seed."""
    by_run: dict[str, list[Response]] = {}
    for one in sorted(responses, key=lambda one: digest([seed, one.prompt_id])):
        by_run.setdefault(one.run, []).append(one)
    sampled: list[Response] = []
    for turn in range(max((len(group) for group in by_run.values()), default=0)):
        for run in sorted(by_run, key=lambda run: digest([seed, turn, run])):
            if turn < len(by_run[run]) and len(sampled) < items:
                sampled.append(by_run[run][turn])
    return sampled


def _rows(table: Path, dimensions: Sequence[str]) -> list[dict[str, str]]:
    """The table's rows; commas, semicolons or tabs between cells, as spreadsheets of several countries save them."""
    try:
        text = table.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"The label table {table} does not exist. Check the path.") from None
    except OSError as error:
        raise UserError(f"Cannot read {table}: {error.strerror or error}. Check the path.") from None
    except UnicodeDecodeError:
        raise UserError(f'{table} is not UTF-8. Save it as "CSV UTF-8" in the spreadsheet.') from None
    head = text.partition("\n")[0]
    delimiter = max(",;\t", key=head.count)
    with _long_cells():
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, restval="")
        missing = [name for name in ("item", *dimensions) if name not in (reader.fieldnames or ())]
        if missing:
            raise UserError(
                f"{table} has no column {', '.join(missing)}. Keep the first row as it was written."
            )
        try:
            return [row for row in reader if row["item"].strip()]
        except csv.Error as error:
            raise UserError(f"{table} is not a CSV table: {error}. Save it again as CSV.") from None


def _label(cell: str, low: int, high: int, place: str) -> int | None:
    text = restored_cell(cell.strip())
    if not text:
        return None
    allowed = {str(value): value for value in range(low, high + 1)}
    if text not in allowed:
        raise UserError(f"{place}: a label is an integer from {low} to {high}, got {text!r:.40}.")
    return allowed[text]


def _score(entry: Mapping[str, Any], rater: str, protocol: str, dimension: str, value: int | None) -> Score:
    return Score(
        prompt_id=entry["prompt_id"],
        cluster=entry["cluster"],
        run=entry["run"],
        seed=entry["seed"],
        judge=rater,
        protocol=protocol,
        dimension=dimension,
        repeat=0,
        value=None if value is None else float(value),
        state="pending" if value is None else "ok",
    )


@contextmanager
def _long_cells() -> Iterator[None]:
    """Within the block the csv module reads cells as long as any response."""
    before = csv.field_size_limit(LONGEST_CELL)
    try:
        yield
    finally:
        csv.field_size_limit(before)
