"""The examples, as they are run from the command line: each asserts what it shows, and so fails where that is untrue.

By default they run shortened, with lower bars; in full as `slow`.
"""

import importlib.util
import re
from pathlib import Path

import pytest

import fastprop as fp

FOLDER = Path(__file__).resolve().parents[1] / "examples"
EXAMPLES = sorted(FOLDER.glob("*.py"))
NAMES = [path.stem for path in EXAMPLES]


def main_of(path):
    """The function `main` of an example, whose name begins with a digit, so that it can't be imported by name."""
    spec = importlib.util.spec_from_file_location(f"example_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def test_examples_are_numbered_without_a_gap():
    assert [int(name[:2]) for name in NAMES] == list(range(1, len(NAMES) + 1))


@pytest.mark.parametrize("path", EXAMPLES, ids=NAMES)
def test_example_shortened(path, capsys):
    with fp.Tape():  # on which nobody else has left anything
        main_of(path)(quick=True)
    assert capsys.readouterr().out.strip(), "an example shows something"


@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=NAMES)
def test_example_in_full(path, capsys):
    with fp.Tape():
        main_of(path)()
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("path", EXAMPLES, ids=NAMES)
def test_example_uses_public_names_only(path):
    """Nothing of fastprop but the package and its rooms for networks, and nothing that begins with an underscore."""
    text = path.read_text(encoding="utf-8")
    imported = re.findall(r"^(?:from|import) (fastprop[\w.]*)", text, re.MULTILINE)
    assert imported
    assert set(imported) <= {"fastprop"}
    assert re.findall(r"\b(?:fp|nn)(?:\.\w+)*\._\w+", text) == []


@pytest.mark.parametrize("path", EXAMPLES, ids=NAMES)
def test_example_is_listed_in_the_readme(path):
    readme = (FOLDER.parent / "README.md").read_text(encoding="utf-8")
    assert f"(examples/{path.name})" in readme
