"""fastprop: gradients of plain Python arithmetic, at the speed of compiled code."""

import importlib
from typing import TYPE_CHECKING

from fastprop import datasets, errors, optim, random
from fastprop.circuits.circuit import Circuit, Run, trace
from fastprop.circuits.compile import Compiled, compile, eager
from fastprop.circuits.debugging import debug_nans
from fastprop.circuits.lanes import lane_max, lane_mean, lane_min, lane_sum
from fastprop.circuits.scan import scan
from fastprop.circuits.vmap import vmap
from fastprop.config import __version__, show_config
from fastprop.derivatives.checking import check_grads, numerical_grad, random_search
from fastprop.derivatives.transforms import grad, hessian, hvp, jacobian, jvp, value_and_grad, vjp
from fastprop.engine import functions
from fastprop.engine.functions import *  # noqa: F403 (one per row of the gate table)
from fastprop.engine.take import take
from fastprop.engine.tape import Array, Tape, Unit, current_tape, stop_gradient, zero_grad
from fastprop.errors import DivergenceError, StaleUnitError
from fastprop.gates import Gate
from fastprop.gates.convolution import *  # noqa: F403
from fastprop.gates.functions import functions as array_functions
from fastprop.gates.linear_algebra import *  # noqa: F403
from fastprop.gates.products import *  # noqa: F403
from fastprop.gates.reductions import *  # noqa: F403
from fastprop.gates.scans import *  # noqa: F403
from fastprop.gates.selection import *  # noqa: F403
from fastprop.gates.shapes import *  # noqa: F403 (each family of functions of arrays)
from fastprop.handles.face import let_pictures
from fastprop.handles.nesting import tree_map
from fastprop.handles.updates import at
from fastprop.hints import no_attribute
from fastprop.threads import get_num_threads, set_num_threads

if TYPE_CHECKING:
    from fastprop import draw, nn, training
    from fastprop import estimators as estimators
    from fastprop import reference as reference
    from fastprop.training import fit
else:

    def __getattr__(name):
        """Import a room, or what stands in it, when it is asked for."""
        if name == "fit":
            return importlib.import_module("fastprop.training").fit
        if name not in ("draw", "nn", "training", "estimators", "reference"):
            raise no_attribute("fastprop", name)
        return importlib.import_module(f"fastprop.{name}")


let_pictures(lambda x: importlib.import_module("fastprop.draw").picture_of(x))

__all__ = [
    "Array",
    "Circuit",
    "Compiled",
    "DivergenceError",
    "Gate",
    "Run",
    "StaleUnitError",
    "Tape",
    "Unit",
    "__version__",
    "at",
    "check_grads",
    "compile",
    "current_tape",
    "datasets",
    "debug_nans",
    "draw",
    "eager",
    "errors",
    "fit",
    "get_num_threads",
    "grad",
    "hessian",
    "hvp",
    "jacobian",
    "jvp",
    "lane_max",
    "lane_mean",
    "lane_min",
    "lane_sum",
    "nn",
    "numerical_grad",
    "optim",
    "random",
    "random_search",
    "scan",
    "set_num_threads",
    "show_config",
    "stop_gradient",
    "take",
    "trace",
    "training",
    "tree_map",
    "value_and_grad",
    "vjp",
    "vmap",
    "zero_grad",
]
__all__ += [*functions.__all__, *array_functions]  # in the stub, which gates.lists makes of this file: all their names


def __dir__() -> list[str]:
    return sorted(__all__)
