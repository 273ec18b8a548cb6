"""What pytest collects here."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("sklearn") else ["test_estimators.py"]  # which compares with it
