"""Training: `fit`, what it gives back, and the main job of the command line with its classifier of scalar neurons."""

from .classifier import Classifier, Neuron
from .data import Example, Split, split
from .fit import evaluate, fit
from .history import Callback, Epoch, History, Score
from .predicting import predict
from .probing import Rates, check_gradients, find_rate

__all__ = [
    "Callback",
    "Classifier",
    "Epoch",
    "Example",
    "History",
    "Neuron",
    "Rates",
    "Score",
    "Split",
    "check_gradients",
    "evaluate",
    "find_rate",
    "fit",
    "predict",
    "split",
]
