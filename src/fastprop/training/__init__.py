"""Training: `fit`, what it gives back, and the main job of the command line with its classifier of scalar neurons."""

from fastprop.hints import let_hint

from .classifier import Classifier, Neuron
from .data import Example, Split, split
from .fit import evaluate, fit
from .history import Callback, Epoch, History, LayerStatistics, Score
from .predicting import predict
from .probing import Rates, check_gradients, find_rate
from .watching import Watch, layer_statistics

__all__ = [
    "Callback",
    "Classifier",
    "Epoch",
    "Example",
    "History",
    "LayerStatistics",
    "Neuron",
    "Rates",
    "Score",
    "Split",
    "Watch",
    "check_gradients",
    "evaluate",
    "find_rate",
    "fit",
    "layer_statistics",
    "predict",
    "split",
]

let_hint(__name__)
