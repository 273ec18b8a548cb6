"""Builds the extension modules: every .pyx in src/fastprop/engine. All else is in pyproject.toml.

FASTPROP_BUILD chooses what kind of build it is; the kind is compiled in, as the string macro FASTPROP_BUILD_KIND, which
a module reads with `cdef extern from *: const char* FASTPROP_BUILD_KIND`:

release (default)  fast: no bounds checks, every index proved when it is recorded
check              AddressSanitizer and UndefinedBehaviorSanitizer, Cython's bounds checks, and the engine's own asserts
                   (macro FASTPROP_CHECK=1; it is 0 in the other kinds)
coverage           line tracing, for coverage.py with Cython's plugin; the C file then lies beside its .pyx

FASTPROP_ANNOTATE=1 writes Cython's annotated HTML beside the generated C, in build/.
"""

import os
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup

FLAGS = {
    "release": ["-O3"],
    "check": ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"],
    "coverage": ["-O1"],
}
KIND = os.environ.get("FASTPROP_BUILD", "release")
if KIND not in FLAGS:
    raise SystemExit(f"FASTPROP_BUILD is {KIND!r}; it must be one of {', '.join(FLAGS)}, or not set (release)")
CHECK, COVERAGE = KIND == "check", KIND == "coverage"

MACROS = [
    ("FASTPROP_BUILD_KIND", f'"{KIND}"'),
    ("FASTPROP_CHECK", str(int(CHECK))),
    ("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION"),
    *([("CYTHON_TRACE_NOGIL", "1")] if COVERAGE else []),
]
DIRECTIVES = {
    "language_level": 3,
    "boundscheck": CHECK,
    "wraparound": False,
    "initializedcheck": CHECK,
    "cdivision": True,
    "c_api_binop_methods": True,
    "autotestdict": False,  # doctest finds the examples by itself
    "linetrace": COVERAGE,
}


def stamp() -> str:
    """A file that changes with the kind, so that a build of another kind leaves no old object in place."""
    path = Path("build", "kind")
    path.parent.mkdir(exist_ok=True)
    if not path.exists() or path.read_text() != KIND:
        path.write_text(KIND)
    return str(path)


EXTENSIONS = [
    Extension(
        f"fastprop.engine.{source.stem}",
        [str(source)],
        include_dirs=[numpy.get_include()],
        define_macros=MACROS,
        depends=[stamp()],
        extra_compile_args=[*FLAGS[KIND], "-ffp-contract=off"],
        extra_link_args=[flag for flag in FLAGS[KIND] if flag.startswith("-fsanitize")],
    )
    for source in sorted(Path("src", "fastprop", "engine").glob("*.pyx"))
]

setup(
    ext_modules=cythonize(
        EXTENSIONS,
        build_dir=None if COVERAGE else f"build/cython-{KIND}",
        include_path=["src"],
        compiler_directives=DIRECTIVES,
        annotate=os.environ.get("FASTPROP_ANNOTATE", "") not in ("", "0"),
    ),
    options={"build_ext": {"parallel": os.cpu_count()}},
)
