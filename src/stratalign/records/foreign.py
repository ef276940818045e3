"""What may lie in a study's folder where stratalign reads and writes: files and folders, and no way out of it.

A folder that came from somebody else can hold a link in the place of a table or of the adapters; whoever wrote through
it would overwrite a file elsewhere. The study's folder itself may be a link: that one the user has named.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from stratalign.errors import UserError
from stratalign.records.folder import StudyFolder


def refuse_foreign(study: StudyFolder) -> None:
    """Refuse a study's folder with a link in it, or with a folder, pipe or device where a file of a study should be.

    Only what a study reads or writes is looked at; other names in the folder are the user's own.

    Raises:
        UserError: there is one.
    """
    for place, is_folder in study.places():
        refuse_links(place, is_folder)


def refuse_links(place: Path, is_folder: bool = True) -> None:
    """The same for one place: a file, or a folder with everything below it. What is not there passes.

    Raises:
        UserError: see `refuse_foreign`.
    """
    refuse_link(place)
    if not os.path.lexists(place):
        return
    kind = place.lstat().st_mode
    if is_folder and stat.S_ISDIR(kind):
        for inside in _below(place):
            refuse_link(Path(inside.path))
            if not (inside.is_dir(follow_symlinks=False) or inside.is_file(follow_symlinks=False)):
                raise _odd(
                    Path(inside.path), "neither a file nor a folder", "such a thing has no place in a study"
                )
    elif is_folder:
        raise _odd(place, "not a folder", "a study has a folder of that name")
    elif not stat.S_ISREG(kind):
        what = "a folder" if stat.S_ISDIR(kind) else "not an ordinary file"
        raise _odd(place, what, "a study has a file of that name")


def refuse_link(place: Path) -> None:
    """Refuse a link at `place`, wherever it leads.

    Raises:
        UserError: it is one.
    """
    if place.is_symlink():
        raise UserError(
            f"{place} is a link to {os.readlink(place)}. stratalign follows no links inside a study's folder: in a "
            "folder from somebody else, they could make it overwrite files elsewhere. Put a copy of what it points to "
            "in its place. To keep a study on another disk, move the whole folder there; the folder itself may be a "
            "link."
        )


def _below(folder: Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            yield entry
            if entry.is_dir(follow_symlinks=False):
                yield from _below(Path(entry.path))


def _odd(place: Path, what: str, instead: str) -> UserError:
    return UserError(f"{place} is {what}, but {instead}. Move it away, or restore the study from a copy.")
