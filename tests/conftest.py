"""What all tests share: every test that asks for `engine` runs on the reference and on the compiled engine."""

import gc
import itertools
import signal
from importlib.util import find_spec

import pytest
from hypothesis import settings

import fastprop
from fastprop import reference
from fastprop.engine.program import instruction_sets, use_instruction_set
from fastprop.engine.trace import let_verify

settings.register_profile("fastprop", deadline=None, database=None)
settings.load_profile("fastprop")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # so it is in a shell's background, and children inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

# what compares with others, or belongs to them, where they are installed
EXTRAS = {
    "test_jax.py": "jax",
    "test_estimators.py": "sklearn",
    "test_estimators_state.py": "sklearn",
    "test_draw_plots.py": "matplotlib",
}
collect_ignore = [file for file, name in EXTRAS.items() if not find_spec(name)]

let_verify(True)  # what every pass makes, and every program


def pytest_collection_modifyitems(items):
    """Begin with what is built, which takes longest: no process waits for another one in the end."""
    items.sort(key=lambda item: "sdist" not in getattr(item, "fixturenames", ()))


def pytest_collection_finish():
    """No full collection of garbage looks through the tests themselves, of which there are many."""
    gc.collect()
    gc.freeze()


FINISHED = itertools.count(1)


def pytest_runtest_logfinish():
    """Nor through what pytest and the libraries keep of those that have run: tests collect some thousand times."""
    if next(FINISHED) % 100 == 0:
        gc.collect()
        gc.freeze()


ENGINES = {"reference": reference, "compiled": fastprop}


@pytest.fixture(params=ENGINES)
def engine(request):
    """One engine after the other: modules with the same public names."""
    return ENGINES[request.param]


@pytest.fixture
def many(engine):
    """How many gates a big circuit of a test has: what the engine records and sweeps within a quarter of a second."""
    return 10_000 if engine is reference else 250_000


@pytest.fixture
def collected():
    """A function that collects garbage and says how many of some weak references are still alive."""

    def alive(references):
        gc.collect()
        return sum(reference() is not None for reference in references)

    return alive


@pytest.fixture
def threads_as_before():
    """Afterwards, as many threads as by default."""
    yield
    fastprop.set_num_threads(None)


@pytest.fixture
def always_threads(monkeypatch):
    """Let threads run also where there is little to do."""
    monkeypatch.setattr("fastprop.engine.run.THREAD_WORTHY", 1)


@pytest.fixture
def every_instruction_set():
    """All instruction sets of this processor, each chosen as it is reached: for tests whose oracle takes long."""
    yield map(use_instruction_set, instruction_sets())
    use_instruction_set()


@pytest.fixture(params=instruction_sets())
def instruction_set(request):
    """One instruction set of this processor after the other."""
    chosen = use_instruction_set(request.param)
    yield chosen
    use_instruction_set()
