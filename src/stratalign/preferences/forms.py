"""The forms of rows that are read: which columns a form has, and what they are to us.

A form is one entry of `FORMS`. Columns of other names are mapped by the recipe's `preferences.columns`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import NamedTuple

from stratalign.preferences.messages import Refused
from stratalign.preferences.transcripts import opens_as_transcript

Row = Mapping[str, object]


class Cell(NamedTuple):
    """A value, and the column of the source that it is from."""

    column: str
    value: object


Cells = dict[str, Cell]


class Form(NamedTuple):
    """Rows in which every column of `needs` holds something are of this form.

    `read` gives prompt (where there is one), chosen and rejected; a demonstration has no rejected. `also` are columns
    that it reads where they are there. `whole`: only where chosen holds the prompt as well.
    """

    name: str
    needs: tuple[str, ...]
    read: Callable[[Row], Cells]
    also: tuple[str, ...] = ()
    whole: bool = False


class Recognised(NamedTuple):
    """A row by our names. `read` are the columns of the source that were looked at, in the form's order."""

    form: str
    cells: Cells
    read: tuple[str, ...]


COMMON = ("system", "tools", "cluster", "part")
"""Columns that every form may have."""

LABELS = ("label", "kto_tag")
"""Columns that may say whether a demonstration is wanted."""

MEDIA = ("image", "images", "video", "videos", "audio", "audios")
ARGUMENTS = "chat_template_kwargs"


def _named(row: Row, **columns: str) -> Cells:
    """Our names for columns of the row."""
    return {ours: Cell(theirs, row.get(theirs)) for ours, theirs in columns.items()}


def _pair(row: Row) -> Cells:
    return _named(row, prompt="prompt", chosen="chosen", rejected="rejected")


def _alpaca(row: Row, **answers: str) -> Cells:
    """`instruction`, then `input` on a line of its own; `history` holds the turns before, as pairs of texts."""
    texts: list[str] = []
    for column in ("instruction", "input"):
        text = row.get(column)
        if holds(text) and not isinstance(text, str):
            raise Refused("not text", f"{column} is {type(text).__name__}, not a text")
        texts += [text] if text and isinstance(text, str) else []
    prompt: object = "\n".join(texts)
    if history := _history(row.get("history")):
        prompt = [*history, {"role": "user", "content": prompt}]
    return {"prompt": Cell("instruction", prompt), **_named(row, **answers)}


def _history(value: object) -> list[dict[str, object]]:
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            value = None
    elif not holds(value) or not value:
        return []
    turns: list[dict[str, object]] = []
    for pair in value if isinstance(value, (list, tuple)) else [None]:
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise Refused("not text", "history is not a list of pairs: what was asked, and the answer")
        turns += [{"role": "user", "content": pair[0]}, {"role": "assistant", "content": pair[1]}]
    return turns


def _by_sign(row: Row) -> Cells:
    """HelpSteer3: from -3, the first response is much better, to 3, the second is."""
    sign = _whole_number(row, "overall_preference")
    if sign == 0:
        raise Refused("no preference", "overall_preference is 0")
    better, worse = ("response1", "response2") if sign < 0 else ("response2", "response1")
    return _named(row, prompt="context", chosen=better, rejected=worse)


def _by_number(row: Row) -> Cells:
    """PKU-SafeRLHF: the number of the better response, 0 or 1."""
    better = _whole_number(row, "better_response_id")
    if better not in (0, 1):
        raise Refused("no preference", f"better_response_id is {better}, neither 0 nor 1")
    return _named(row, prompt="prompt", chosen=f"response_{better}", rejected=f"response_{1 - better}")


def _whole_number(row: Row, column: str) -> int:
    """A number, which a table of texts holds as text."""
    value = row[column]
    if isinstance(value, str) and value.strip().lstrip("-").isdecimal() and len(value) < 9:
        return int(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value == value // 1:
        return int(value)
    raise Refused("no preference", f"{column} is not a whole number")


def _answered(column: str, prompt: str = "prompt") -> Callable[[Row], Cells]:
    return lambda row: _named(row, prompt=prompt, chosen=column)


PAIR = ("chosen", "rejected")

FORMS = (
    Form("HelpSteer3", ("context", "response1", "response2", "overall_preference"), _by_sign),
    Form("PKU-SafeRLHF", ("prompt", "response_0", "response_1", "better_response_id"), _by_number),
    Form("pairs", ("prompt", *PAIR), _pair),
    Form(
        "ShareGPT ranking",
        ("conversations", *PAIR),
        lambda row: _named(row, prompt="conversations", chosen="chosen", rejected="rejected"),
    ),
    Form("pairs of whole conversations", PAIR, _pair, whole=True),
    Form(
        "orca_dpo_pairs",
        ("question", *PAIR),
        lambda row: _named(row, prompt="question", chosen="chosen", rejected="rejected"),
    ),
    Form(
        "Alpaca ranking",
        ("instruction", *PAIR),
        lambda row: _alpaca(row, chosen="chosen", rejected="rejected"),
        also=("input", "history"),
    ),
    Form(
        "distilabel orca pairs",
        ("input", *PAIR),
        lambda row: _named(row, prompt="input", chosen="chosen", rejected="rejected"),
    ),
    Form(
        "argilla ultrafeedback",
        ("instruction", "chosen_response", "rejected_response"),
        lambda row: _named(row, prompt="instruction", chosen="chosen_response", rejected="rejected_response"),
    ),
    Form("pairs of whole conversations", PAIR, _pair),
)
"""Of pairs; the first that fits is taken."""

DEMONSTRATIONS = (
    Form("demonstrations", ("response",), _answered("response"), also=("prompt",)),
    Form("demonstrations", ("completion",), _answered("completion"), also=("prompt",)),
    Form(
        "Alpaca demonstrations",
        ("instruction", "output"),
        lambda row: _alpaca(row, chosen="output"),
        also=("input", "history"),
    ),
    Form("conversations", ("messages",), _answered("messages"), also=("prompt",)),
    Form("ShareGPT conversations", ("conversations",), lambda row: _named(row, chosen="conversations")),
)
"""Of rows with one response to imitate, in which neither chosen nor rejected stands."""

PROMPTS = ("prompt", "question", "instruction", "input", "context", "messages", "conversations")
"""Columns that may hold the prompt of a row that has nothing else; the first is taken."""


def recognise(row: Row, columns: Mapping[str, str | None]) -> Recognised:
    """The row by our names.

    Args:
        row: a row of the source.
        columns: our column -> theirs; None: the column is not read.

    Raises:
        Refused: a column is missing, or the row holds what cannot be read.
    """
    view = _by_our_names(row, columns)
    paired = any(holds(view.get(column)) for column in PAIR)
    form = next((one for one in FORMS if _fits(one, view)), None)
    if form is None and not paired:
        form = next((one for one in DEMONSTRATIONS if _fits(one, view)), None)
    if form is None:
        raise Refused("missing column", _missing(view))
    _refuse_what_is_not_read(view)
    cells = form.read(view)
    if "rejected" not in cells:
        label = next((column for column in LABELS if says_whether(view.get(column)) is not None), None)
        cells |= {} if label is None else {"label": Cell(label, view[label])}
    cells |= _named(view, **{column: column for column in COMMON if column in view})
    looked = dict.fromkeys([*form.needs, *form.also, *(cell.column for cell in cells.values())])
    return Recognised(
        form.name,
        {ours: Cell(columns.get(cell.column) or cell.column, cell.value) for ours, cell in cells.items()},
        tuple(columns.get(column) or column for column in looked if column in view),
    )


def recognise_prompt(row: Row, columns: Mapping[str, str | None]) -> Cells | None:
    """The prompt of a row that has nothing else, with what every row may have; None where it has more.

    Raises:
        Refused: it has no prompt.
    """
    view = _by_our_names(row, columns)
    if any(holds(view.get(column)) for column in PAIR) or any(_fits(one, view) for one in FORMS):
        return None
    found = next((column for column in PROMPTS if holds(view.get(column))), None)
    demonstration = next((one for one in DEMONSTRATIONS if _fits(one, view)), None)
    if demonstration is not None and not (
        found == demonstration.needs[-1] and not _ends_with_an_answer(view[found])
    ):
        return None
    if found is None:
        raise Refused("missing column", columns.get("prompt") or "prompt")
    _refuse_what_is_not_read(view)
    cells = _alpaca(view) if found == "instruction" else _named(view, prompt=found)
    return cells | _named(view, **{column: column for column in COMMON if column in view})


def says_whether(value: object) -> bool | None:
    """A label that says yes or no; None of any other."""
    if isinstance(value, (bool, int)) and value in (0, 1):
        return bool(value)
    return {"true": True, "false": False}.get(value.strip().casefold()) if isinstance(value, str) else None


def holds(value: object) -> bool:
    """Whether a cell holds anything; tables write NaN where it does not."""
    return value is not None and not (isinstance(value, float) and value != value)


def _by_our_names(row: Row, columns: Mapping[str, str | None]) -> dict[str, object]:
    given = {ours: theirs for ours, theirs in columns.items() if theirs is None or theirs in row}
    gone = {*given, *given.values()}
    view = {str(column): value for column, value in row.items() if column not in gone}
    return view | {ours: row[theirs] for ours, theirs in given.items() if theirs is not None}


def _fits(form: Form, view: Row) -> bool:
    return all(holds(view.get(column)) for column in form.needs) and (
        not form.whole or all(_opens_with_a_prompt(view[column]) for column in PAIR)
    )


def _opens_with_a_prompt(value: object) -> bool:
    if isinstance(value, str):
        return opens_as_transcript(value) or value.lstrip()[:2] == "[{"
    return isinstance(value, (list, tuple)) and bool(value) and not _by_the_assistant(value[0])


def _ends_with_an_answer(value: object) -> bool:
    return not isinstance(value, (list, tuple)) or not value or _by_the_assistant(value[-1])


def _by_the_assistant(message: object) -> bool:
    return isinstance(message, Mapping) and (message.get("role") or message.get("from")) in (
        "assistant",
        "gpt",
    )


def _missing(view: Row) -> str:
    """The columns that lack of the form that the row is nearest to."""
    if any(holds(view.get(column)) for column in PAIR):
        return next(column for column in PAIR if not holds(view.get(column)))
    there = [
        (sum(holds(view.get(column)) for column in form.needs), form.needs)
        for form in (*FORMS, *DEMONSTRATIONS)
    ]
    most, needs = max(there, key=lambda one: one[0])
    lacking = [column for column in needs if not holds(view.get(column))]
    return ", ".join(lacking) if most > 1 else "chosen"


def _refuse_what_is_not_read(view: Row) -> None:
    for column in MEDIA:
        if holds(view.get(column)) and view[column] not in ("", [], {}):
            raise Refused("not text alone", f"{column} holds something, and only text is read")
    if holds(view.get(ARGUMENTS)) and view[ARGUMENTS] not in ("", {}, []):
        raise Refused(
            "template arguments of one row",
            f"{ARGUMENTS} would hold for this row alone; arguments can only be given for all rows, in the recipe",
        )
