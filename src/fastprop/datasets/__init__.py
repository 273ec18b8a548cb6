"""Small real data sets that ship with the package; origin and licence of each are in the README.md beside them."""

from .digits import Dataset, load_digits

__all__ = ["Dataset", "load_digits"]
