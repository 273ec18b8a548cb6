"""Targets and weights as scikit-learn gives them: labels of any kind as numbers from 0 on, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight

from fastprop.training.feed import Weighting

__all__ = ["FLOATS", "Classes", "weighed"]

FLOATS = (np.float64, np.float32)
"""What is computed in, as it comes; anything else is float64."""

Weighed = tuple[Any, Any, "np.ndarray[Any, Any] | None"]


def weighed(X: Any, y: Any, sample_weight: Any) -> Weighed:
    """Return inputs, targets and weights, without the rows that have no weight: they count as absent."""
    if sample_weight is None:
        return X, y, None
    weights = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
    if np.all(weights > 0.0):
        return X, y, weights
    kept = weights > 0.0
    return X[kept], y[kept], weights[kept]


class Classes(ClassifierMixin):
    """What classifiers share: their classes."""

    classes_: np.ndarray[Any, Any]
    class_weight: Any
    _outputs: Any  # a score for every class, of every row

    def _labels(self, y: Any, known: np.ndarray[Any, Any] | None) -> np.ndarray[Any, Any]:
        """Return the places of labels among the classes: those that are known, or else those of the labels."""
        y = np.asarray(y)
        if y.dtype == object and len({isinstance(label, str) for label in y.ravel()}) > 1:
            raise TypeError("y has strings and other things; expected labels of one kind")
        check_classification_targets(y)
        found, labels = np.unique(y, return_inverse=True)
        if known is None:
            self.classes_ = found
            return np.asarray(labels.ravel())
        if unknown := sorted(set(found.tolist()).difference(known.tolist())):
            raise ValueError(f"y has the new class {unknown[0]!r}; expected one of {known.tolist()}")
        places: np.ndarray[Any, Any] = np.searchsorted(known, found)[labels.ravel()]
        return places

    def _weighed(self, X: Any, labels: Any, sample_weight: Any, all_there: bool) -> Weighed:
        """Return inputs, labels and weights, those of the classes included, without rows that have no weight."""
        class_weight = self.class_weight
        if class_weight is not None and not isinstance(class_weight, str):
            if not isinstance(class_weight, Mapping):
                raise TypeError(f'class_weight is {class_weight!r:.60}; expected a dict, "balanced" or None')
            classes = self.classes_.tolist()
            missing = [label for label in classes if label not in class_weight]
            foreign = [label for label in class_weight if label not in classes]
            if missing and foreign:
                raise ValueError(
                    f"class_weight has no weight for the class {missing[0]!r}, and one for {foreign[0]!r}, which is "
                    "none; expected classes, of which those that are left out count once"
                )
            class_weight = [class_weight.get(label, 1.0) for label in classes]
        X, labels, weights = weighed(X, labels, sample_weight)
        if all_there and len(lost := np.setdiff1d(np.arange(len(self.classes_)), labels)):
            name = self.classes_[lost[0]].tolist()
            raise ValueError(f"all examples of the class {name!r} have the weight 0; leave them out, or give them some")
        return weighed(X, labels, Weighting(class_weight).of(labels, weights))

    def decision_function(self, X: Any) -> np.ndarray[Any, Any]:
        """Return scores: (examples, classes), the highest wins; of two classes (examples,), above 0 for the second."""
        scores = self._outputs(X)
        return np.asarray(scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores)

    def predict(self, X: Any) -> np.ndarray[Any, Any]:
        """Return the most likely class of every row."""
        places = np.argmax(self._outputs(X), axis=1)
        return np.asarray(self.classes_[places])
