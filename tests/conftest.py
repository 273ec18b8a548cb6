"""What all tests share: every test that asks for `engine` runs on the reference and on the compiled engine."""

import gc
import signal

import pytest
from hypothesis import settings

import fastprop
from fastprop import reference

settings.register_profile("fastprop", deadline=None, database=None)
settings.load_profile("fastprop")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # so it is in a shell's background, and children inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

ENGINES = {"reference": reference, "compiled": fastprop}


@pytest.fixture(params=ENGINES)
def engine(request):
    """One engine after the other: modules with the same public names."""
    return ENGINES[request.param]


@pytest.fixture
def many(engine):
    """How many gates a big circuit of a test has: what the engine records and sweeps within a second."""
    return 20_000 if engine is reference else 1_000_000


@pytest.fixture
def collected():
    """A function that collects garbage and says how many of some weak references are still alive."""

    def alive(references):
        gc.collect()
        return sum(reference() is not None for reference in references)

    return alive
