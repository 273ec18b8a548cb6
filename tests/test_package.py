"""The package as users get it: the sdist, the wheel built from it, and what a fresh environment makes of them.

Nothing here uses the network: builds run without isolation, and the fresh environment reads NumPy and the other
dependencies from the one that runs the tests.
"""

import doctest
import fcntl
import importlib
import importlib.metadata
import os
import pkgutil
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

import fastprop
from one_gate_more import PROGRAM, add_gate

ROOT = Path(__file__).resolve().parents[1]
WRITTEN = {".py", ".pyx", ".pxd", ".pxi", ".pyi", ".h", ".typed", ".md", ".txt", ".npz", ".gz", ".csv"}
LEFT_BEHIND = shutil.ignore_patterns("__pycache__", "*.egg-info", "build", "dist", "*.so", "*.c", ".*_cache")
MADE = ("__init__.pyi", "engine/functions.pyi", "handles/methods.pyi")  # of the table, when building
MODULES = sorted(module.name for module in pkgutil.walk_packages(fastprop.__path__, "fastprop."))


def run(*command: str | Path, **options) -> str:
    """Run a command, in an environment that finds no module but the installed ones; what it printed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "FASTPROP"))}
    environment.update(options.pop("environment", {}))
    done = subprocess.run([str(word) for word in command], env=environment, capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def source_names(folder: Path) -> set[str]:
    """The files of the package that people wrote, as paths below src/."""
    paths = (path for path in (folder / "src" / "fastprop").rglob("*") if path.suffix in WRITTEN)
    return {path.relative_to(folder / "src").as_posix() for path in paths} - {f"fastprop/{name}" for name in MADE}


def made_once(tmp_path_factory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that the first test process to come here fills, for all processes of this run."""
    shared = tmp_path_factory.getbasetemp()
    shared = shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared
    folder = shared / name
    with open(shared / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "made").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            (folder / "made").touch()
    return folder


@pytest.fixture(scope="session")
def sdist(tmp_path_factory):
    """The sdist of a copy of this source tree."""

    def make(folder: Path) -> None:
        tree = folder / "tree"
        for name in ("src", "tests", "bench", "docs", "examples", ".ci"):
            shutil.copytree(ROOT / name, tree / name, ignore=LEFT_BEHIND)
        for path in ROOT.iterdir():
            if path.is_file():
                shutil.copy(path, tree / path.name)
        run(sys.executable, "-m", "build", "--no-isolation", "--sdist", "--outdir", folder, tree)

    (archive,) = made_once(tmp_path_factory, "sdist", make).glob("*.tar.gz")
    return archive


@pytest.fixture(scope="session")
def wheel(sdist, tmp_path_factory):
    """The wheel that a user builds who has nothing but the sdist, and has added a gate to it.

    A build takes more than a minute: this one shows that sources are complete, and that a gate is where CONTRIBUTING
    says, and nowhere else.
    """

    def make(folder: Path) -> None:
        with tarfile.open(sdist) as archive:
            archive.extractall(folder, filter="data")
        (tree,) = folder.iterdir()
        add_gate(tree)
        quick = {"FASTPROP_BUILD": "quick"}  # as it is built is all that matters here, and takes minutes otherwise
        run(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", folder, tree, environment=quick)

    (archive,) = made_once(tmp_path_factory, "wheel", make).glob("*.whl")
    return archive


@pytest.fixture(scope="session")
def fresh_python(wheel, tmp_path_factory):
    """The Python of a fresh environment, with the wheel and (by a path file) what it depends on."""

    def make(folder: Path) -> None:
        venv.create(folder, symlinks=True)
        python = folder / "bin" / "python"
        run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel)
        (site_packages,) = (folder / "lib").glob("python*/site-packages")
        places = dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
        (site_packages / "dependencies.pth").write_text("\n".join(places) + "\n")

    return made_once(tmp_path_factory, "fresh", make) / "bin" / "python"


class TestSdist:
    def test_holds_every_source_file(self, sdist):
        with tarfile.open(sdist) as archive:
            names = {name.partition("/")[2] for name in archive.getnames()}
        packed = {name.removeprefix("src/") for name in names if name.startswith("src/fastprop/")}
        assert source_names(ROOT) <= packed
        assert {name for name in packed if name.endswith(".pyx")} != set()
        needed = "pyproject.toml setup.py README.md LICENSE CHANGELOG.md CONTRIBUTING.md docs/limits.md .ci/run"
        assert set(needed.split()) <= names
        assert {f"tests/{Path(__file__).name}", "bench/README.md", "examples/02_neuron.py"} <= names

    def test_holds_nothing_generated(self, sdist):
        made = (".c", ".so", ".pyc", ".html", *[f"fastprop/{name}" for name in MADE])
        with tarfile.open(sdist) as archive:
            generated = [name for name in archive.getnames() if name.endswith(made)]
        assert generated == []


class TestWheel:
    def test_holds_modules_stubs_and_data(self, wheel):
        names = set(zipfile.ZipFile(wheel).namelist())
        assert {name for name in source_names(ROOT) if not name.endswith((".pyx", ".h", ".pxi"))} <= names
        assert {f"fastprop/{name}" for name in MADE} <= names
        compiled = {name.split(".")[0] for name in names if name.endswith(".so")}
        rooms = {name.removesuffix(".pyx") for name in source_names(ROOT) if name.endswith(".pyx")}
        assert compiled == rooms | {"fastprop/engine/shared"}
        assert any(name.endswith("licenses/LICENSE") for name in names)

    def test_is_small(self, wheel):
        assert wheel.stat().st_size < 3_300_000

    def test_holds_the_package_alone(self, wheel):
        tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
        assert tops == {"fastprop", f"fastprop-{fastprop.__version__}.dist-info"}


class TestFreshEnvironment:
    def test_computes_a_gradient(self, fresh_python, tmp_path):
        program = (
            "import fastprop as fp\n"
            "x, y, z = fp.Unit(-2.0), fp.Unit(5.0), fp.Unit(-4.0)\n"
            "f = (x + y) * z\n"
            "f.backward()\n"
            "print(fp.__file__, f.value, x.grad, y.grad, z.grad)\n"
        )
        place, *numbers = run(fresh_python, "-c", program, cwd=tmp_path).split()
        assert Path(place).is_relative_to(fresh_python.parents[1])
        assert numbers == ["-12.0", "-4.0", "-4.0", "3.0"]

    def test_has_the_gate_that_was_added(self, fresh_python, tmp_path):
        assert run(fresh_python, "-c", PROGRAM, cwd=tmp_path) == "one gate more\n"

    def test_shows_what_was_built(self, fresh_python, tmp_path):
        shown = run(fresh_python, "-c", "import fastprop; print(fastprop.show_config())", cwd=tmp_path)
        assert fastprop.__version__ in shown
        assert "quick" in shown

    def test_offers_the_main_job(self, fresh_python, tmp_path):
        assert "train" in run(fresh_python, "-m", "fastprop", "--help", cwd=tmp_path)


def test_version_is_the_same_everywhere():
    assert fastprop.__version__ == importlib.metadata.version("fastprop")
    assert f"## [{fastprop.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_unknown_build_kind_is_an_error():
    environment = {**os.environ, "FASTPROP_BUILD": "fast"}
    command = [sys.executable, "setup.py", "--version"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode != 0
    assert "'fast'" in done.stderr
    assert "release, check, coverage, quick" in done.stderr


def test_every_public_name_exists_and_is_documented():
    assert len(fastprop.__all__) == len(set(fastprop.__all__))
    for name in fastprop.__all__:
        assert getattr(fastprop, name).__doc__, f"fastprop.{name} has no docstring"


def has_examples(name: str) -> bool:
    """Whether the examples of a module can be run: not those of estimators where scikit-learn is not installed."""
    return not name.endswith("__main__") and (find_spec("sklearn") is not None or "estimators" not in name)


@pytest.mark.parametrize("name", list(filter(has_examples, MODULES)))
def test_examples_in_docstrings(name):
    module = importlib.import_module(name)
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    assert doctest.testmod(module, optionflags=flags).failed == 0
