"""Builds the extension modules: one per room of src/fastprop/engine and one per instruction set.

FASTPROP_BUILD chooses the kind of build, which is compiled in as the string macro FASTPROP_BUILD_KIND:
release (default)  fast: no bounds checks, every index proved when it is recorded
check              AddressSanitizer, UndefinedBehaviorSanitizer, bounds checks, the engine's asserts (FASTPROP_CHECK=1)
coverage           line tracing, for coverage.py with Cython's plugin; the C file then lies beside its .pyx
quick              compiled in a quarter of the time, and slow: to see whether it builds and runs somewhere
FASTPROP_ANNOTATE=1 writes Cython's annotated HTML beside the generated C, in build/.
"""

import importlib
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup

FLAGS = {"release": ["-O2", "-g0"], "check": ["-O1", "-g1"], "coverage": ["-O1", "-g0"]}
FLAGS["quick"] = ["-O0", "-g0", "-Dalways_inline=unused"]  # calls: copies in all loops take most of the time
FLAGS["check"] += ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
KIND = os.environ.get("FASTPROP_BUILD", "release")
LOOPS = "-O3" * (KIND == "release")  # of modules that loop over numbers; others gain nothing by it
COMMON = f"-fno-math-errno -fno-trapping-math -Wno-psabi {LOOPS}"
if KIND not in FLAGS:
    raise SystemExit(f"FASTPROP_BUILD is {KIND!r}; it must be one of {', '.join(FLAGS)}, or not set (release)")
WIDE = "-mmove-max=256 -mstore-max=256"  # else GCC copies vectors by halves, and loads wait for both
COMPILER = os.environ.get("CC") or sysconfig.get_config_var("CC")
if subprocess.run(f"{COMPILER} {WIDE} -E -xc {os.devnull}", shell=True, capture_output=True).returncode != 0:
    WIDE = ""  # older than GCC 12, or not GCC
if KIND == "check":  # else it compiles for ten minutes; AddressSanitizer finds what null and object-size would
    COMMON += " -fno-sanitize=alignment,null,object-size --param asan-instrumentation-with-call-threshold=0"
SETS = {"avx2": f"{COMMON} -mavx2 -mfma {WIDE}", "run": LOOPS, "tape": LOOPS}
SETS |= dict.fromkeys(["baseline", "update"], COMMON)  # update has loops for every set in one module
SETS["avx512"] = f"{COMMON} -mavx512f -mavx512dq -mavx512vl -mavx512bw -mfma -mprefer-vector-width=512"
CHECK, COVERAGE, LINK = KIND == "check", KIND == "coverage", [x for x in FLAGS[KIND] if x.startswith("-fsanitize")]
MACROS = [("FASTPROP_BUILD_KIND", f'"{KIND}"'), ("FASTPROP_CHECK", str(int(CHECK)))]
MACROS += [("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")] + [("CYTHON_TRACE_NOGIL", "1")] * COVERAGE
DIRECTIVES = {"boundscheck": CHECK, "initializedcheck": CHECK, "cdivision": True, "c_api_binop_methods": True}
DIRECTIVES |= dict.fromkeys(["wraparound", "auto_pickle", "autotestdict"], False)  # doctest finds examples itself
DIRECTIVES |= dict.fromkeys(["linetrace", "emit_code_comments"], COVERAGE)
(STAMP := Path("build", "kind")).parent.mkdir(exist_ok=True)  # changes, lest an object of another kind stays
if not STAMP.exists() or STAMP.read_text() != KIND:
    STAMP.write_text(KIND)
ENGINE = Path("src", "fastprop", "engine")
sys.modules["fastprop"] = type(sys)("fastprop")  # an empty package: the table is read before there is an engine
sys.modules["fastprop"].__path__ = [str(ENGINE.parent)]
importlib.import_module("fastprop.gates.lists").write(ENGINE.parent, MADE := Path("build", "made"))
LONGER = "kernels update door program avx512 baseline trace tape avx2 run"  # to compile, each than the one before
LISTS = {"egg_info", "dist_info", "sdist"} & {*sys.argv}  # files only, and nothing is compiled
SHARED = "fastprop.engine.shared"  # what Cython needs in every module, compiled once
EXTENSIONS = [
    Extension(
        ".".join(source.relative_to("src").with_suffix("").parts),
        [str(source)],
        include_dirs=[numpy.get_include(), str(ENGINE), "build"],
        define_macros=MACROS,
        libraries=["m"],  # else old forms of exp and log are found
        depends=[str(STAMP), *map(str, [*ENGINE.glob("*/*.h"), *MADE.glob("*.h")])],
        extra_compile_args=[*FLAGS[KIND], "-ffp-contract=off", *SETS.get(source.stem, "").split()],
        extra_link_args=LINK,
    )
    for source in sorted(ENGINE.rglob("*.pyx"), key=lambda source: LONGER.find(source.stem), reverse=True)
    if not LISTS and (os.uname().machine == "x86_64" or "avx" not in source.stem)
]
setup(
    ext_modules=cythonize(
        [*EXTENSIONS, Extension(SHARED, [f"{ENGINE}/shared.c"], extra_compile_args=FLAGS[KIND], extra_link_args=LINK)],
        build_dir=None if COVERAGE else f"build/cython-{KIND}",
        include_path=["src", "build"],
        nthreads=os.cpu_count(),
        shared_utility_qualified_name=SHARED,
        compiler_directives=DIRECTIVES,
        annotate=os.environ.get("FASTPROP_ANNOTATE", "") not in ("", "0"),
    ),
    options={"build_ext": {"parallel": os.cpu_count()}},
)
