"""fastprop: gradients of plain Python arithmetic, at the speed of compiled code."""

from fastprop import datasets, errors
from fastprop.checking import check_grads, numerical_grad, random_search
from fastprop.config import __version__, show_config
from fastprop.engine import Array, Tape, Unit, current_tape, functions
from fastprop.engine.functions import *  # noqa: F403 (one function per row of the gate table)
from fastprop.errors import StaleUnitError
from fastprop.gates import Gate
from fastprop.transforms import grad, hessian, hvp, jacobian, jvp, value_and_grad, vjp

__all__ = [
    "Array",
    "Gate",
    "StaleUnitError",
    "Tape",
    "Unit",
    "__version__",
    "check_grads",
    "current_tape",
    "datasets",
    "errors",
    "grad",
    "hessian",
    "hvp",
    "jacobian",
    "jvp",
    "numerical_grad",
    "random_search",
    "show_config",
    "value_and_grad",
    "vjp",
]
__all__ += functions.__all__
