"""Training: batches of examples, a classifier of scalar neurons, the fit loop and the main job.

Nothing here knows which engine it runs on: a `Classifier` is given one, as a module (``fastprop`` itself or
``fastprop.reference``), and the rest works on its Units.
"""

from .classifier import Classifier, Neuron
from .data import Example, Split, batches, split
from .fit import Epoch, History, Score, evaluate, fit, step

__all__ = [
    "Classifier",
    "Epoch",
    "Example",
    "History",
    "Neuron",
    "Score",
    "Split",
    "batches",
    "evaluate",
    "fit",
    "split",
    "step",
]
