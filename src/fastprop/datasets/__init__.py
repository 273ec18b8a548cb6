"""Small real data sets that ship with the package; origin and licence of each are in the README.md beside them."""

from fastprop.hints import let_hint

from .digits import Dataset, load_digits
from .texts import load_genesis, load_letters, load_names

__all__ = ["Dataset", "load_digits", "load_genesis", "load_letters", "load_names"]

let_hint(__name__)
