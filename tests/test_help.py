"""What help, inspect and completion show of functions that transforms make, and of the package."""

import functools
import inspect
import pydoc

import pytest

import fastprop as fp


def loss(w, x, *, scale: float = 1.0):
    """The loss of one example."""
    return w * x * scale


MAKERS = {
    "compile": fp.compile,
    "vmap": fp.vmap,
    "grad": fp.grad,
    "value_and_grad": fp.value_and_grad,
    "jacobian": fp.jacobian,
    "hessian": fp.hessian,
    "training step": lambda f: fp.compile(fp.value_and_grad(fp.vmap(f, reduce="mean"))),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_a_function_shows_the_signature_and_docstring_of_the_one_that_it_is_made_of(make):
    made = make(loss)
    assert inspect.signature(made) == inspect.signature(loss)
    assert inspect.getdoc(made) == "The loss of one example."
    assert made.__module__ == __name__
    assert "loss" in made.__name__ and inspect.unwrap(made) is loss
    text = pydoc.plain(pydoc.render_doc(made))
    assert "The loss of one example." in text and "(w, x, *, scale: float = 1.0)" in text
    assert "_record" not in text


def test_functions_without_a_signature_or_docstring():
    for f in (functools.partial(loss, 1.0), max, lambda x: x):
        assert callable(fp.compile(f)) and callable(fp.vmap(f)) and callable(fp.grad(f))
        assert pydoc.render_doc(fp.compile(f))


def test_completion_shows_public_names_only():
    assert dir(fp) == sorted(fp.__all__)
    assert {"Unit", "grad", "exp", "compile", "errors", "datasets", "__version__"} <= set(dir(fp))
    assert not {"engine", "blocks", "gates", "nesting", "functions"} & set(dir(fp))
    for name in dir(fp):
        assert getattr(fp, name) is not None
