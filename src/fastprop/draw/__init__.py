"""Pictures: circuits with values and gradients on their wires, the two sweeps step by step, learning curves.

These are SVG and HTML of our own, and need nothing else. `weights`, `embedding` and `confusion` draw with matplotlib,
an extra: ``pip install 'fastprop[draw]'``.
"""

from fastprop.draw.circuit import circuit, picture_of
from fastprop.draw.curves import curves
from fastprop.draw.plots import confusion, embedding, weights
from fastprop.draw.svg import Picture
from fastprop.draw.sweeps import Page, sweeps
from fastprop.hints import let_hint

__all__ = ["Page", "Picture", "circuit", "confusion", "curves", "embedding", "picture_of", "sweeps", "weights"]

let_hint(__name__)
