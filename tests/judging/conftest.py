"""Child processes for tests that kill them."""

import multiprocessing

import pytest


@pytest.fixture(scope="session")
def processes():
    """Starts children from one process that has the imports behind it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["stratalign.judging.running", "stratalign.judging.batches"])
    return context
