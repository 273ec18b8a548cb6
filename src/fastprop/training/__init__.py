"""Training: `fit`, what it gives back, and the main job of the command line with its classifier of scalar neurons."""

from .classifier import Classifier, Neuron
from .data import Example, Split, batches, split
from .fit import Score, evaluate, step
from .fitting import fit
from .history import Callback, Epoch, History

__all__ = [
    "Callback",
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
