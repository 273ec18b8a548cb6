"""Training: `fit`, what it gives back, and the main job of the command line with its classifier of scalar neurons."""

from .classifier import Classifier, Neuron
from .data import Example, Split, split
from .fit import evaluate, fit
from .history import Callback, Epoch, History, Score

__all__ = [
    "Callback",
    "Classifier",
    "Epoch",
    "Example",
    "History",
    "Neuron",
    "Score",
    "Split",
    "evaluate",
    "fit",
    "split",
]
