"""Opens a report in headless Chromium: its pixels, light and dark; its script; and that nothing hostile runs in it."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import threading
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from fake_studies import full_study
from test_report_hostile import hostile_study

from hostile import HOSTILE
from stratalign.reporting import report

pytestmark = pytest.mark.browser

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))),
    None,
)


OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
NO_NETWORK = "--host-resolver-rules=MAP * ~NOTFOUND"


def screenshot(page: Path, picture: Path, *options: str) -> bytes:
    """The pixels of the page's first 1280 x 1200, row after row, three or four bytes each."""
    assert CHROMIUM is not None
    subprocess.run(
        [
            CHROMIUM, *OPTIONS, NO_NETWORK, f"--user-data-dir={picture.parent / ('profile-' + picture.stem)}",
            "--window-size=1280,1200", *options, f"--screenshot={picture}", page.as_uri(),
        ],
        check=True, capture_output=True,
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


@pytest.fixture
def asked() -> Iterator[tuple[str, list[str]]]:
    """The address of a server on this machine, and the paths that it was asked for."""
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", paths
    server.shutdown()
    server.server_close()


def opened(page: Path) -> str:
    """The page's document after its scripts have run."""
    assert CHROMIUM is not None
    profile = f"--user-data-dir={page.parent / ('profile-' + page.stem)}"
    done = subprocess.run(
        [CHROMIUM, *OPTIONS, profile, "--virtual-time-budget=3000", "--dump-dom", page.as_uri()],
        check=True,
        capture_output=True,
    )
    return done.stdout.decode("utf-8", "replace")


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_nothing_hostile_runs_and_without_the_policy_it_would(
    tmp_path: Path, asked: tuple[str, list[str]]
) -> None:
    address, paths = asked
    page = report([hostile_study(tmp_path / "study")])
    text = page.read_text(encoding="utf-8")
    document = opened(page)
    assert "<title>PWNED" not in document
    # Our own script did run: it counts the prompts that it shows.
    assert re.search(r"(\d+) of \1 prompts shown", document)

    # The same attacks as markup, as if nothing had been escaped: the policy alone still stops them.
    raw = f"{HOSTILE['script']}{HOSTILE['img_onerror']}<img src='{address}/x.png'></main>"
    injected, control = tmp_path / "injected.html", tmp_path / "control.html"
    injected.write_text(text.replace("</main>", raw), encoding="utf-8")
    assert "<title>PWNED" not in opened(injected)
    assert paths == []
    policy = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
    control.write_text(policy.sub("", text.replace("</main>", raw)), encoding="utf-8")
    assert "<title>PWNED" in opened(control)
    assert paths == ["/x.png"]
