"""What the build makes of the table: every name once, signatures as they are, the vector forms that there are."""

import ast
import inspect
import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

import fastprop
from fastprop import gates
from fastprop.gates import functions as arrays
from fastprop.gates import lists

SCRIPTS = sysconfig.get_path("scripts")


def stub(text):
    """The functions of a stub, and those of its classes, by name."""
    return {node.name: node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)}


def signature(function):
    """The parameters of a function in a stub, as inspect has them: names, kinds, defaults."""
    found, arguments = [], function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = [inspect.Parameter.empty] * (len(positional) - len(arguments.defaults))
    defaults += [ast.literal_eval(default) for default in arguments.defaults]
    for i, (argument, default) in enumerate(zip(positional, defaults, strict=True)):
        found.append((argument.arg, i < len(arguments.posonlyargs), default))
    return found


@pytest.mark.parametrize("name", gates.table)
def test_stub_of_a_function_has_its_signature(name):
    parameters = inspect.signature(getattr(fastprop, name)).parameters.values()
    real = [(p.name, p.kind is inspect.Parameter.POSITIONAL_ONLY, p.default) for p in parameters]
    assert signature(stub(lists.functions_stub())[name]) == real


@pytest.mark.parametrize("name", gates.methods)
def test_stub_of_a_method_has_the_functions_further_operands(name):
    first, *rest = signature(stub(lists.methods_stub())[name])
    assert (
        first[0] == (*gates.table[name].names, "self")[0] and rest == signature(stub(lists.functions_stub())[name])[1:]
    )


@pytest.mark.parametrize("name", arrays.methods)
def test_stub_of_a_method_of_arrays_has_the_functions_further_parameters(name):
    parameters = list(inspect.signature(arrays.methods[name]).parameters.values())[1:]
    found = stub(lists.methods_stub())[name].args
    assert [x.arg for x in [*found.args, *found.kwonlyargs]] == ["self", *[p.name for p in parameters]]
    defaults = [ast.literal_eval(x) for x in [*found.defaults, *found.kw_defaults]]
    assert str(inspect.signature(getattr(fastprop.Array, name))).startswith("(self")
    assert defaults == [p.default for p in parameters if p.default is not p.empty]


def test_stubs_list_nothing_else():
    assert list(stub(lists.functions_stub())) == list(gates.table)
    assert list(stub(lists.methods_stub())) == [*gates.methods, *arrays.methods]


def test_vector_forms_are_found_where_they_are():
    one = "INLINE part exp_lanes(part x, part *dx) {\n}\nINLINE part power_lanes(part x, part y, part *dx) {\n"
    three = "INLINE part clip_lanes(part x, part low, part high) {\n"
    text = lists.header({"one.h": one, "none.h": "INLINE part helper_lanes(part x) {\n", "three.h": three})
    assert '#include "vector/one.h"' in text and '#include "vector/three.h"' in text and "none.h" not in text
    for form in ("ONE(FORM) \\\n    FORM(exp, EXP)\n", "TWO(FORM) \\\n    FORM(power, POWER)\n"):
        assert f"#define FORMS_OF_{form}" in text
    assert "#define FORMS_OF_THREE(FORM) \\\n    FORM(clip, CLIP)\n" in text and "helper" not in text


def test_only_what_has_changed_is_written(tmp_path):
    for folder in ("engine/vector", "handles"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "__init__.py").write_text("__all__ = []\n__all__ += functions.__all__\n")
    made = tmp_path / "made"
    lists.write(tmp_path, made)
    written = [*made.iterdir(), *tmp_path.rglob("*.pyi")]
    assert sorted(path.name for path in written) == [
        "__init__.pyi",
        "functions.pyi",
        "gates.h",
        "kernels.pxi",
        "methods.pyi",
        "opcodes.pxi",
    ]
    for path in written:
        os.utime(path, (0, 0))
    (made / "gates.h").write_text("old")
    lists.write(tmp_path, made)
    assert [path.name for path in written if path.stat().st_mtime != 0] == ["gates.h"]
    assert (made / "gates.h").read_text() == lists.header({})


TYPED = """
import fastprop as fp
from fastprop import *

x: fp.Unit = Unit(2.0)
y: float = (x * x).grad
exp(fp.tanh(x))
fp.clip(x, max=1.0)
fp.exp(x, x)
fp.power(x)
fp.nothing
"""


@pytest.mark.parametrize("checker", [name for name in ("mypy",) if shutil.which(name, path=SCRIPTS)])
def test_types_as_a_user_meets_them(checker, tmp_path):
    (tmp_path / "typed.py").write_text(TYPED)
    command = [Path(SCRIPTS, checker), "--strict", "--config-file=", "--cache-dir=cache", "typed.py"]
    place = Path(fastprop.__file__).parents[1]
    environment = os.environ if place.name == "site-packages" else {**os.environ, "MYPYPATH": str(place)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    found = [line.split(":")[1] for line in done.stdout.splitlines() if ": error: " in line]
    assert found == ["9", "10", "11"], done.stdout + done.stderr
