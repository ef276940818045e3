"""Opens a report in headless Chromium, light and dark, and looks at the pixels."""

from __future__ import annotations

import shutil
import struct
import subprocess
import zlib
from pathlib import Path

import pytest
from fake_studies import full_study

from stratalign.reporting import report

pytestmark = pytest.mark.browser

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))),
    None,
)


def screenshot(page: Path, picture: Path, *options: str) -> bytes:
    """The pixels of the page's first 1280 x 1200, row after row, three or four bytes each."""
    assert CHROMIUM is not None
    subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
            f"--user-data-dir={picture.parent / ('profile-' + picture.stem)}", "--window-size=1280,1200",
            *options, f"--screenshot={picture}", page.as_uri(),
        ],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    return pixels(picture.read_bytes())


def pixels(png: bytes) -> bytes:
    """The raw rows of a PNG, each still behind its filter's byte: enough to tell colours and emptiness apart."""
    data, at = b"", 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        if png[at + 4 : at + 8] == b"IDAT":
            data += png[at + 8 : at + 8 + length]
        at += 12 + length
    return zlib.decompress(data)


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_the_page_renders_light_and_dark(tmp_path: Path) -> None:
    page = report([full_study(tmp_path / "study")])
    light = screenshot(page, tmp_path / "light.png", "--blink-settings=preferredColorScheme=1")
    dark = screenshot(page, tmp_path / "dark.png", "--blink-settings=preferredColorScheme=0")
    # The first pixel of the first row follows that row's filter byte.
    assert light[1] > 240
    assert dark[1] < 40
    # An empty page packs to nothing; text and figures do not.
    for picture in (light, dark):
        assert len(zlib.compress(picture)) > 30_000
