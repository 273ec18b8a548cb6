"""Estimators: networks and a linear SVM behind scikit-learn's face, for its pipelines, searches and cross-validation.

They need scikit-learn: ``pip install fastprop[estimators]``.
"""

try:
    import sklearn  # noqa: F401
except ModuleNotFoundError as error:
    raise ImportError(
        "fastprop.estimators needs scikit-learn, which is not installed: pip install fastprop[estimators]"
    ) from error

from .networks import MLPClassifier, MLPRegressor
from .svm import LinearSVC

__all__ = ["LinearSVC", "MLPClassifier", "MLPRegressor"]
