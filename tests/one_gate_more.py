"""A gate that fastprop has not, added to a copy of its tree as CONTRIBUTING says: a row, a kernel, a vector form."""

from pathlib import Path

ROW = """versine    = _row("versine",  "``1 - cos(x)``.",
                  lambda x: 2.0 * values.sin(0.5 * x) ** 2, lambda x: sin(x), at=(1e-9, 1e22))

"""
KERNEL = """

cdef double versine_gate(double x, double* dx) noexcept nogil:
    cdef double half = sin(0.5 * x)
    dx[0] = sin(x)
    return 2.0 * half * half
"""
FORM = """INLINE part versine_lanes(part x, part *dx) {
    part ignored, half = sin_lanes(0.5 * x, &ignored);
    *dx = sin_lanes(x, &ignored);
    return 2.0 * half * half;
}

"""
PLACES = (  # file, what is added, before which line of it
    ("gates/table.py", ROW, "# Special functions\n"),
    ("engine/kernels/elementary.pxi", KERNEL, None),
    ("engine/vector/trigonometric.h", FORM, "#endif\n"),
)
PROGRAM = """
import ast
from math import cos, sin
from pathlib import Path

import numpy as np

import fastprop as fp
from fastprop import reference

for engine in (fp, reference):
    x = engine.Unit(0.5)
    y = engine.versine(x) + x.versine()
    y.backward()
    assert abs(y.value - 2.0 * (1.0 - cos(0.5))) < 1e-15 and abs(x.grad - 2.0 * sin(0.5)) < 1e-15
    assert abs(engine.grad(engine.grad(engine.versine))(0.5) - cos(0.5)) < 1e-15

at = np.linspace(-9.0, 9.0, 301)
for dtype, error in ((np.float64, 2e-15), (np.float32, 1e-6)):
    for function in (fp.versine, lambda x: fp.versine(x) if x > 1.0 else fp.versine(x) * 1.0):
        step = fp.compile(fp.value_and_grad(fp.vmap(function, reduce="sum")), dtype=dtype)
        value, gradient = step(at.astype(dtype))
        assert np.allclose(value, np.sum(1.0 - np.cos(at)), rtol=100.0 * error)
        assert np.allclose(gradient, np.sin(at), rtol=0.0, atol=error)
assert np.allclose(fp.compile(fp.grad(fp.versine))(0.5), sin(0.5), rtol=1e-15)
assert fp.trace(fp.versine, 0.5)(2.0) == fp.versine(2.0) and np.allclose(fp.versine(at), 1.0 - np.cos(at))
assert fp.versine.__doc__.startswith("``1 - cos(x)``.")
for stub in ("engine/functions.pyi", "handles/methods.pyi"):
    tree = ast.parse((Path(fp.__file__).parent / stub).read_text())
    assert "versine" in [node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
print("one gate more")
"""


def add_gate(tree: Path) -> None:
    """Add it to the sources in a folder; no other file is touched."""
    for name, added, before in PLACES:
        path = tree / "src" / "fastprop" / name
        text = path.read_text(encoding="utf-8")
        place = text.rindex(before) if before is not None else len(text)
        path.write_text(text[:place] + added + text[place:], encoding="utf-8")
