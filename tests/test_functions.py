"""The table of functions of arrays: all that is made of it, and that nothing in it is without an example."""

import re

import numpy as np
import pytest

import fastprop as fp
from fastprop import gates, reference
from fastprop.gates.functions import FAMILIES, functions, methods, of_numpy, refusal
from fastprop.hints import INSTEAD

OURS = ["softmax", "log_softmax", "conv1d", "conv2d", "solve_triangular"]
OURS += [f"{kind}_pool{axes}d" for kind in ("max", "avg") for axes in (1, 2)]


def numpys(name):
    """NumPy's function of that name."""
    return getattr(np, name, None) or getattr(np.linalg, name, None)


@pytest.mark.parametrize("name", functions)
def test_a_function_has_an_example_a_public_name_and_a_twin(name):
    function = functions[name]
    assert getattr(fp, name) is function
    assert getattr(reference, name) is function
    assert name in fp.__all__ and name in reference.__all__
    assert ">>> import fastprop as fp" in function.__doc__ and f"fp.{name}(" in function.__doc__
    assert name in OURS or of_numpy[numpys(name)] is function


@pytest.mark.parametrize("name", methods)
def test_a_method_is_the_function(name):
    assert hasattr(np.ndarray, name)
    for kind in (fp.Array, reference.Array):
        assert name in dir(kind)
        assert getattr(kind, name).__doc__


def test_no_name_means_two_things():
    names = [name for family in FAMILIES for name in family.__all__]
    assert len(names) == len(set(names))
    assert not set(names) & {*gates.table, "trace", "take"}
    assert set(OURS) <= set(functions)


def test_what_is_no_gate_says_what_to_use():
    for function in (np.unique, np.median, np.linalg.pinv, np.fft.fft, np.percentile):
        assert refusal(function).count("is no gate of fastprop's; ") == 1
        with pytest.raises(TypeError, match="is no gate of fastprop's"):
            function(fp.Array([1.0, 2.0]), *[50] * (function is np.percentile))


def test_what_is_to_be_used_instead_is_there():
    for name, text in INSTEAD.items():
        missing = getattr(np.linalg, name.removeprefix("linalg.")) if "linalg." in name else np
        for part in name.split(".") if missing is np else ():
            missing = getattr(missing, part)
        assert missing not in of_numpy
        for path in re.findall(r"np\.((?:linalg\.)?\w+)", text):
            used = np
            for part in path.split("."):
                used = getattr(used, part)
            assert used in of_numpy or used in (np.abs, np.pi, np.linspace, np.isnan, np.eye), text


def test_methods_of_ufuncs_say_what_to_use():
    for name in [name for name in INSTEAD if name.endswith((".reduce", ".accumulate"))]:
        ufunc, method = name.split(".")
        with pytest.raises(TypeError, match=f"np.{name} is no gate of fastprop's; {INSTEAD[name]}"):
            getattr(getattr(np, ufunc), method)(fp.Array([1.0, 2.0]))
