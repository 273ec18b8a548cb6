"""The data sets that ship with the package."""

import inspect
import subprocess
import sys
import unicodedata

import numpy as np
import pytest

from fastprop.datasets import load_digits, load_genesis, load_letters, load_names


def test_digits_shapes_types_and_ranges():
    digits = load_digits()
    assert digits.data.shape == (1797, 64)
    assert digits.data.dtype == np.float64
    assert (digits.data.min(), digits.data.max()) == (0.0, 16.0)
    assert digits.target.shape == (1797,)
    assert digits.target.dtype == np.int64
    assert np.array_equal(digits.target_names, np.arange(10))
    assert digits.images.shape == (1797, 8, 8)
    assert np.array_equal(digits.images.reshape(1797, 64), digits.data)
    assert len(digits.feature_names) == 64
    assert digits.feature_names[10] == "pixel_1_2"


def test_digits_known_numbers():
    """Facts on record: the counts per class in the data set's own description, and its first row."""
    digits = load_digits()
    assert np.bincount(digits.target).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert digits.data[0, :16].tolist() == [0, 0, 5, 13, 9, 1, 0, 0, 0, 0, 13, 15, 10, 15, 5, 0]
    assert digits.data.sum() == 561718.0


def test_digits_are_those_of_scikit_learn():
    theirs = pytest.importorskip("sklearn.datasets").load_digits()
    ours = load_digits()
    for name in ("data", "target", "images", "target_names"):
        assert np.array_equal(getattr(ours, name), getattr(theirs, name))
        assert getattr(ours, name).dtype == getattr(theirs, name).dtype
    assert list(ours.feature_names) == list(theirs.feature_names)


def test_digits_as_a_pair():
    data, target = load_digits(return_X_y=True)
    assert np.array_equal(data, load_digits().data)
    assert np.array_equal(target, load_digits().target)


@pytest.mark.parametrize("n_class", [1, 3, 10])
def test_digits_of_some_classes(n_class):
    digits = load_digits(n_class=n_class)
    everything = load_digits()
    kept = everything.target < n_class
    assert np.array_equal(digits.data, everything.data[kept])
    assert np.array_equal(digits.target, everything.target[kept])
    assert digits.target_names.tolist() == list(range(n_class))


@pytest.mark.parametrize("n_class", [0, 11, -1, 2.0, True, "3", None])
def test_digits_of_no_such_number_of_classes(n_class):
    with pytest.raises(ValueError, match="expected a whole number from 1 to 10"):
        load_digits(n_class=n_class)


@pytest.mark.parametrize("n_class", [3, 10])
def test_digits_are_read_only(n_class):
    digits = load_digits(n_class=n_class)
    for name in ("data", "target", "images", "target_names"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(digits, name)[0] = 0
    with pytest.raises(AttributeError):
        digits.data = None


def test_digits_say_where_they_come_from():
    description = load_digits().DESCR
    for word in ("UCI", "Alpaydin", "Kaynak", "CC BY 4.0", "scikit-learn", "BSD-3-Clause"):
        assert word in description


def test_digits_repr():
    assert repr(load_digits()) == "<Dataset: 1797 examples, 64 features, 10 classes>"


def test_digits_through_the_public_name():
    program = "import fastprop as fp; print(fp.datasets.load_digits())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == repr(load_digits())


def test_digits_take_keywords_only():
    parameters = inspect.signature(load_digits).parameters.values()
    assert all(parameter.kind is inspect.Parameter.KEYWORD_ONLY for parameter in parameters)


def test_genesis_known_facts():
    """Facts on record: 50 chapters of 1,533 verses begin as everybody knows, and end in Egypt."""
    text = load_genesis()
    assert len(text) == 188_666
    assert text.isascii()
    assert text.startswith("In the beginning God created the heavens and the earth.\n")
    assert text.rstrip().endswith("he was put in a coffin in Egypt.")


def test_names():
    names = load_names()
    assert len(names) == len(set(names)) == 4000
    assert names[0] == "emma"  # in 2018 the most frequent one
    assert all(name.isascii() and name.isalpha() and name.islower() for name in names)


def test_letters_are_those_of_the_unicode_standard():
    letters = load_letters()
    assert len(letters) == len(set(letters)) == 3693
    assert set("".join(letters)) == set("abcdefghijklmnopqrstuvwxyz -")
    codes = [ord(unicodedata.lookup(name)) for name in letters]
    assert codes == sorted(codes)


@pytest.mark.parametrize("load", [load_genesis, load_names, load_letters])
def test_texts_are_read_once_and_can_not_change(load):
    assert load() is load()
    assert isinstance(load(), (str, tuple))


def test_texts_say_where_they_come_from():
    description = load_digits().DESCR
    for word in ("World English Bible", "public domain", "Social Security", "Unicode License v3", "NLTK", "makemore"):
        assert word in description
