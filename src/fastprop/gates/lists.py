"""What the build makes of the table, so that no gate's name is written down twice: setup.py calls `write`.

| file | what it lists |
| --- | --- |
| ``opcodes.pxi`` | the gates as a Cython enum, for ``kernels.pxd`` |
| ``kernels.pxi`` | every gate's kernel, for the table in ``kernels.pyx`` |
| ``gates.h`` | the gates as a C enum, and those that have a vector form, for the executors |
| ``functions.pyi``, ``methods.pyi`` | stubs of the gates as functions, and as methods of handles |
| ``__init__.pyi`` | the package's stub: checkers read no list that is added up, as the package's list is |

A gate's kernel is the function ``NAME_gate`` in ``engine/kernels/``; its vector form, if it has one, is the function
``NAME_lanes`` in a header of ``engine/vector/``. One of one number can have a form for floats beside it, which is
``NAME_lanesf``; without, floats are computed as doubles.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from pathlib import Path

from fastprop.gates import functions as arrays
from fastprop.gates.row import SEQUENCE, Row
from fastprop.gates.table import methods, table

_KINDS = {1: "one", 2: "two", 3: "three", SEQUENCE: "many"}  # of kernels, as kernels.pyx calls them
_FORM = re.compile(r"^INLINE part (\w+)_lanes\(", re.MULTILINE)
_NATIVE = re.compile(r"^INLINE partf (\w+)_lanesf\(partf x, partf \*dx\)", re.MULTILINE)
_MADE = "made of gates/table.py by setup.py"


def write(package: Path, made: Path) -> None:
    """Write all lists that have changed: the stubs into the package, what is compiled into the folder `made`."""
    made.mkdir(parents=True, exist_ok=True)
    headers = sorted((package / "engine" / "vector").glob("*.h"))
    lists = {
        made / "opcodes.pxi": opcodes(),
        made / "kernels.pxi": kernels(),
        made / "gates.h": header({header.name: header.read_text(encoding="utf-8") for header in headers}),
        package / "__init__.pyi": package_stub((package / "__init__.py").read_text(encoding="utf-8")),
        package / "engine" / "functions.pyi": functions_stub(),
        package / "handles" / "methods.pyi": methods_stub(),
    }
    for path, text in lists.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def opcodes() -> str:
    """Return the gates as a Cython enum."""
    return _lines(
        [f"# The gates, {_MADE}.", "cdef enum Opcode:", *[f"    {name.upper()}" for name in table], "    OPCODES"]
    )


def kernels() -> str:
    """Return the calls that enter every gate's kernel in the table of kernels."""
    return _lines([f"# The kernels, {_MADE}.", *[_kernel(row) for row in table.values()]])


def _kernel(row: Row) -> str:
    return f'{_KINDS[row.arity]}({row.name.upper()}, b"{row.name}", {row.name}_gate, {row.strong})'


def header(vector: dict[str, str]) -> str:
    """Return the C header; `vector` are the names and the texts of the headers in which vector forms may be."""
    forms: dict[str, list[str]] = {"FORMS_OF_ONE": [], "FORMS_OF_TWO": [], "FORMS_OF_THREE": []}
    included = []
    for name, text in vector.items():
        found = [gate for gate in _FORM.findall(text) if gate in table]
        included += [f'#include "vector/{name}"'] if found or _NATIVE.search(text) else []
        for gate in found:
            forms[f"FORMS_OF_{_KINDS[table[gate].arity].upper()}"].append(_form(gate))
    natives = {_form(gate) for text in vector.values() for gate in _NATIVE.findall(text)}
    forms["NATIVE_OF_ONE"] = [form for form in forms["FORMS_OF_ONE"] if form in natives]
    forms["LIFTED_OF_ONE"] = [form for form in forms["FORMS_OF_ONE"] if form not in natives]
    return _lines(
        [
            f"/* The gates, and those that have a vector form, {_MADE}. */",
            *["#ifndef FASTPROP_GATES_H", "#define FASTPROP_GATES_H"],
            *included,
            *["enum Opcode {", *[f"    {name.upper()}," for name in table], "    OPCODES", "};"],
            *[" \\\n    ".join([f"#define {name}(FORM)", *found]) for name, found in forms.items()],
            "#endif",
        ]
    )


def _form(gate: str) -> str:
    return f"FORM({gate}, {gate.upper()})"


def package_stub(source: str) -> str:
    """Return the stub of the package: its source, with the gates' names instead of the list that it adds."""
    names = _lines(["__all__ += [", *[f'    "{name}",' for name in [*table, *arrays.functions]], "]"])
    return re.sub(r"^__all__ \+= .*\n", names, source, count=1, flags=re.MULTILINE)


def functions_stub() -> str:
    """Return the stub of ``fastprop.engine.functions``."""
    return _lines(
        [
            *[f'"""The gates as functions, {_MADE}."""', "", "from typing import Any", ""],
            *["__all__ = [", *[f'    "{name}",' for name in table], "]", ""],
            *[f"def {row.name}({_typed(row.parameters)}) -> Any: ..." for row in table.values()],
        ]
    )


def methods_stub() -> str:
    """Return the stub of ``fastprop.handles.methods``."""
    return _lines(
        [
            *[f'"""The gates as methods of handles, {_MADE}."""', "", "from typing import Any", ""],
            *['__all__ = ["ArrayMethods", "GateMethods"]', "", "class GateMethods:"],
            *[_method(table[name]) for name in methods],
            *["", "class ArrayMethods:"],
            *[_array_method(name) for name in arrays.methods],
        ]
    )


def _method(row: Row) -> str:
    """Return a method; where the gate's operands have names, the handle has the first one's, as inspect shows it."""
    rest = _typed(row.parameters[1:])
    if row.names:
        return f"    def {row.name}({row.names[0]}, {rest}) -> Any: ...  # noqa: N805"
    return f"    def {row.name}(self, {rest}) -> Any: ..."


def _array_method(name: str) -> str:
    """Return the method that a function of arrays is, with the parameters behind the first."""
    parameters = list(inspect.signature(arrays.methods[name]).parameters.values())[1:]
    typed = [
        f"{'*' * (x.kind is x.VAR_POSITIONAL)}{x.name}: Any" + (f" = {x.default!r}" if x.default is not x.empty else "")
        for x in parameters
    ]
    keyword = [k for k, x in enumerate(parameters) if x.kind is x.KEYWORD_ONLY]
    if keyword:
        typed.insert(keyword[0], "*")
    return f"    def {name}({', '.join(['self', *typed])}) -> Any: ..."


def _typed(parameters: Iterable[str]) -> str:
    typed = []
    for parameter in parameters:
        name, _, default = parameter.partition("=")
        kind = "bool" if default in ("False", "True") else "Any"
        typed.append(name if name == "/" else f"{name}: {kind} = {default}" if default else f"{name}: {kind}")
    return ", ".join(typed)


def _lines(lines: Iterable[str]) -> str:
    return "\n".join(lines) + "\n"
