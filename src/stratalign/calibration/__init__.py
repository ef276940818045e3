"""Calibration: worlds in which it is known which layer carries a preference, and what the instruments name there."""

from stratalign.calibration.instruments import INSTRUMENTS, QUICK, InstrumentSettings, look
from stratalign.calibration.running import calibrate, spread_seeds
from stratalign.calibration.tables import as_markdown, share, summarise
from stratalign.calibration.worlds import QUICK_WORLD, Kind, World, WorldSettings, draw_noise, make_world

__all__ = [
    "INSTRUMENTS",
    "QUICK",
    "QUICK_WORLD",
    "InstrumentSettings",
    "Kind",
    "World",
    "WorldSettings",
    "as_markdown",
    "calibrate",
    "draw_noise",
    "look",
    "make_world",
    "share",
    "spread_seeds",
    "summarise",
]
