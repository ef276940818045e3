"""Reports in these tests draw no PNG files, which take most of a report's time; the tests of PNG files ask for them."""

from __future__ import annotations

import pytest

from stratalign.reporting.figures import pictures


@pytest.fixture(autouse=True)
def _no_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "pictures_drawn" not in request.fixturenames:
        monkeypatch.setattr(pictures, "can_draw", lambda: False)


@pytest.fixture
def pictures_drawn() -> None:
    """Whatever is installed is used."""
    pytest.importorskip("resvg_py")
