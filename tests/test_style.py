"""The house rules that a machine can check: sizes, import directions, left-overs, formatting."""

import ast
import functools
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "fastprop"
SUFFIXES = {".py", ".pyx", ".pxd", ".pyi", ".pxi", ".c", ".h", ".toml", ".md", ".in"}
FOLDERS = ("src", "tests", "bench", "docs", "examples", ".ci")

# From the ground up: a room, or a module in it, imports from the floors below its own and from its own, never upwards.
FLOORS = (
    ("hints",),
    ("errors", "datasets", "threads"),
    ("gates",),
    ("handles.nesting", "handles.methods"),
    ("handles.indexing", "handles.operands"),
    ("handles.updates",),
    ("handles.face",),
    ("reference", "engine.kernels", "engine.door"),
    ("engine.executor",),
    ("engine.parts",),
    ("engine.tape",),
    ("engine.integers",),
    ("engine.items", "engine.slots", "engine.refusals"),
    ("engine.bundle",),
    ("engine.product",),
    ("engine.on_bundles", "engine.masks"),
    ("engine.trace", "engine.passes"),
    ("engine.program",),
    ("engine.run",),
    ("engine.update",),
    ("engine.opaque", "engine.truth", "engine.functions", "engine.take"),
    ("engine",),  # its __init__.py
    ("config",),
    ("derivatives.recorded", "derivatives.swept"),
    ("derivatives.call",),
    ("derivatives.transforms", "derivatives.checking"),
    ("optim",),
    ("circuits.signature", "circuits.enclosed", "circuits.captured"),
    ("circuits.trace", "circuits.lanes"),
    ("circuits.pipeline",),
    ("circuits.bind", "circuits.route", "circuits.diagnosis"),
    ("circuits.batching",),
    ("circuits.paths",),
    ("circuits.branches", "circuits.unrolling"),
    ("circuits.derived",),
    ("circuits.operands",),
    ("circuits.recorded_map",),
    ("circuits.mapping", "circuits.steps"),
    ("circuits.use",),
    ("circuits.circuit", "circuits.recorded_scan", "circuits.debugging"),
    ("circuits.function_gate",),
    ("circuits.compile",),
    ("circuits.vmap",),
    ("circuits.scan",),
    ("random",),
    ("handles", "derivatives", "circuits"),  # their __init__.py
    ("nn",),
    ("training",),
    ("estimators", "draw"),
    ("__init__",),
    ("__main__",),
)
FLOOR = {name: height for height, names in enumerate(FLOORS) for name in names}


def written_files() -> list[Path]:
    """Every text file of the project that people write."""
    files = [path for path in ROOT.iterdir() if path.is_file()]
    files += [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.is_file()]
    ours = [path for path in files if path.suffix in SUFFIXES or path == ROOT / ".ci" / "run"]
    return sorted(path for path in ours if "__pycache__" not in path.parts and ".egg-info" not in str(path))


@functools.cache
def lines(path: Path) -> list[str]:
    """The lines of a text file."""
    return path.read_text(encoding="utf-8").splitlines()


FILES = written_files()
MODULES = sorted(path for path in PACKAGE.rglob("*.*") if path.suffix in (".py", ".pyi", ".pyx", ".pxd", ".pxi"))


def places(paths: Iterable[Path], wrong: Callable[[str], object]) -> list[str]:
    """The lines of files that something is wrong with, as an editor finds them."""
    return [
        f"{path.relative_to(ROOT)}:{number}: {line}"
        for path in paths
        for number, line in enumerate(lines(path), 1)
        if wrong(line)
    ]


def test_every_file_fits_in_one_head():
    limits = {"setup.py": 80, "reference.py": 500}
    assert [str(path) for path in FILES if len(lines(path)) > limits.get(path.name, 600)] == []


def test_no_left_overs():
    left_over = re.compile(
        "|".join(["TO" + "DO", "FIX" + "ME", "X" * 3 + r"\b", "raise NotImplemented" + r"Error\(\)"])
    )
    assert places(FILES, left_over.search) == []


def test_no_left_over_files():
    beside = re.compile(r"~$|\.(?:orig|rej|bak|swp|tmp)$")
    assert [str(path) for folder in FOLDERS for path in (ROOT / folder).rglob("*") if beside.search(path.name)] == []


def test_no_absolute_paths():
    absolute = re.compile(r"(?<![\w.~/:<$}])/(?:root|work|home|tmp|usr|opt)/")
    assert places(FILES, lambda line: absolute.search(line) and line[:2] != "#!") == []


def test_no_trailing_space_and_one_newline_at_the_end():
    assert places(FILES, lambda line: line != line.rstrip()) == []
    for path in FILES:
        text = path.read_bytes()
        assert not text or (text.endswith(b"\n") and not text.endswith(b"\n\n")), path


def floor_of(name: str) -> str:
    """The name that a module of the package, or what is imported from it, has in FLOORS: its room's, or its own."""
    parts = [part for part in name.split(".")[1:] if part != "__init__"] or ["__init__"]
    return ".".join(parts[:2]) if any(other.startswith(f"{parts[0]}.") for other in FLOOR) else parts[0]


def module_name(path: Path) -> str:
    """The dotted name of a file of the package."""
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)


def imported_from_python(path: Path) -> set[str]:
    """The dotted names that a Python file imports from the package, wherever in it the import stands."""
    found = set()
    package = ("fastprop", *path.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*above, *([node.module] if node.module else [])])
            found |= {f"{base}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] == "fastprop"}


def imported_from_cython(path: Path) -> set[str]:
    """The dotted names that a Cython file imports or cimports from the package."""
    found = set()
    for line in lines(path):
        if match := re.match(r"\s*from\s+(fastprop[\w.]*)\s+c?import\s+(.+)", line):
            names = re.split(r"[,\s()]+", match[2].split("#")[0].replace("\\", " "))
            found |= {f"{match[1]}.{name}" for name in names if name} or {match[1]}
        elif match := re.match(r"\s*c?import\s+(fastprop[\w.]*)", line):
            found.add(match[1])
        assert not re.match(r"\s*from\s+\.", line), f"{path.name}: name the module in full: {line}"
    return found


def upward_imports(path: Path) -> list[str]:
    """The imports of a file of the package that stand on no lower floor than itself."""
    here = floor_of(module_name(path))
    assert here in FLOOR, f"{here} has no floor yet: say in FLOORS where it stands"
    found = imported_from_python(path) if path.suffix in (".py", ".pyi") else imported_from_cython(path)
    floors = {
        name: next((x for x in (floor_of(name), f"{name}.".split(".")[1]) if x in FLOOR), "__init__") for name in found
    }
    return sorted(name for name, there in floors.items() if there != here and FLOOR[there] >= FLOOR[here])


def test_imports_run_downwards():
    found = {str(path.relative_to(PACKAGE)): upward_imports(path) for path in MODULES}
    assert {path: names for path, names in found.items() if names} == {}


def test_engine_knows_nothing_of_files_plots_or_networks():
    foreign = re.compile(r"^\s*(?:from|c?import)\s+(?:scipy\.(?!special)|matplotlib|tqdm|pathlib|os\b|io\b)")
    engine = [path for path in MODULES if "engine" in path.relative_to(ROOT).parts]
    assert [(path.name, line) for path in engine for line in lines(path) if foreign.match(line)] == []


def has_stub_or_no_names(path: Path) -> bool:
    """Whether a compiled room has a stub, or no name that Python sees."""
    python = re.compile(r"(?:def|cpdef|class|cdef class)\s|[A-Z_]\w* = |[a-z]\w* = ")
    parts = [path, *path.with_suffix("").glob("*.pxi")]
    return path.with_suffix(".pyi").exists() or not any(python.match(line) for part in parts for line in lines(part))


def test_compiled_rooms_with_python_names_have_a_stub():
    rooms = [path for path in MODULES if path.suffix == ".pyx"]
    assert len(rooms) > 5
    assert [path.name for path in rooms if not has_stub_or_no_names(path)] == []


def is_included_once(path: Path) -> bool:
    """Whether one room includes this part of it, and includes it once."""
    wanted = f'include "{path.relative_to(PACKAGE / "engine")}"'
    beside = f'include "{path.name}"'  # the executor's stubs lie beside their one part
    rooms = [room for room in MODULES if room.suffix == ".pyx" and wanted in lines(room)]
    return len(rooms) == 1 or any(beside in lines(room) for room in path.parent.glob("*.pyx"))


def test_every_part_is_included_once():
    parts = [path for path in MODULES if path.suffix == ".pxi"]
    assert len(parts) > 50
    assert [str(path) for path in parts if not is_included_once(path)] == []


def test_import_brings_in_neither_scipy_nor_tqdm_nor_what_extras_bring():
    program = (
        "import sys, fastprop; "
        "print(sorted({m.split('.')[0] for m in sys.modules} & {'scipy', 'tqdm', 'matplotlib', 'sklearn'}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_reference_runs_without_the_engine():
    program = (
        "import sys, types\n"
        "package = types.ModuleType('fastprop')\n"
        f"package.__path__ = [{str(PACKAGE)!r}]\n"
        "sys.modules['fastprop'] = package\n"
        "from fastprop import reference as fp\n"
        "x = fp.Unit(3.0)\n"
        "(x * x).backward()\n"
        "assert x.grad == 6.0\n"
        "assert not any(name.startswith('fastprop.engine') for name in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


LINTERS = (["ruff", "check", "."], ["ruff", "format", "--check", "."], ["cython-lint", "--no-pycodestyle", "src"])
SCRIPTS = sysconfig.get_path("scripts")
INSTALLED = [command for command in LINTERS if shutil.which(command[0], path=SCRIPTS)]  # they come with the lint extra


@pytest.mark.parametrize("command", INSTALLED, ids=" ".join)
def test_linter_is_content(command):
    environment = {**os.environ, "PATH": os.pathsep.join([SCRIPTS, os.environ.get("PATH", os.defpath)])}
    done = subprocess.run(
        [Path(SCRIPTS, command[0]), *command[1:]], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
