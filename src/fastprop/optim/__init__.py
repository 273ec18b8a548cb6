"""Update rules, schedules, clipping, and searches without gradients: how parameters move once something is known.

The examples import ``fastprop`` as ``fp``; everything here is ``fp.optim.<name>``.
"""

from fastprop.hints import let_hint

from .clipping import clip_grad_norm_, clip_grad_value_, clip_norm, clip_value, norm
from .lbfgs import LBFGS
from .optimizer import Optimizer
from .rules import SGD, Adadelta, Adagrad, Adam, AdamW, RMSprop, Windowgrad
from .schedules import Cosine, Exponential, InverseTime, ReduceLROnPlateau, Schedule, Step, WarmUp
from .search import coordinate_search, genetic_search, random_search, simulated_annealing

__all__ = [
    "LBFGS",
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Cosine",
    "Exponential",
    "InverseTime",
    "Optimizer",
    "RMSprop",
    "ReduceLROnPlateau",
    "Schedule",
    "Step",
    "WarmUp",
    "Windowgrad",
    "clip_grad_norm_",
    "clip_grad_value_",
    "clip_norm",
    "clip_value",
    "coordinate_search",
    "genetic_search",
    "norm",
    "random_search",
    "simulated_annealing",
]

let_hint(__name__)
