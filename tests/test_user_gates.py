"""Gates of the user's own: good ones, and what becomes of bad ones."""

import math
import weakref

import numpy as np
import pytest
from numpy.testing import assert_array_equal

# As they are meant


def test_a_gate_of_ones_own(engine):
    class Scale(engine.Gate):
        def __init__(self, factor):
            self.factor = factor

        def forward(self, x):
            return self.factor * x

        def backward(self, pull, x):
            return self.factor * pull

    x = engine.Unit(3.0)
    y = Scale(5.0)(x) * x
    y.backward()
    assert (y.value, x.grad) == (45.0, 30.0)
    assert Scale(2.0)(1.5) == 3.0


def test_a_gate_of_several_operands(engine):
    class Mix(engine.Gate):
        def forward(self, x, y, z):
            return x * y + z

        def backward(self, pull, x, y, z):
            return pull * y, pull * x, pull

    x, y, z = engine.Unit(2.0), engine.Unit(3.0), engine.Unit(4.0)
    Mix()(x, y, z).backward(10.0)
    assert (x.grad, y.grad, z.grad) == (30.0, 20.0, 10.0)
    Mix()(x, 7.0, 1).backward()
    assert (x.grad, y.grad, z.grad) == (37.0, 20.0, 10.0)
    Mix()(x, x, x).backward()
    assert x.grad == 37.0 + 5.0


def test_a_gate_of_arrays(engine):
    class Norm(engine.Gate):
        def forward(self, a):
            return float(np.sqrt(np.sum(a * a)))

        def backward(self, pull, a):
            return pull * a / np.sqrt(np.sum(a * a))

    class Outer(engine.Gate):
        def forward(self, a, x):
            return np.outer(a, [1.0, x])

        def backward(self, pull, a, x):
            return pull @ np.array([1.0, x]), float(pull[:, 1] @ a)

    a, x = engine.Array([3.0, 4.0]), engine.Unit(10.0)
    norm = Norm()(a)
    assert isinstance(norm, engine.Unit)
    norm.backward(5.0)
    assert norm.value == 5.0
    assert_array_equal(a.grad, [3, 4])
    outer = Outer()(a, x)
    assert isinstance(outer, engine.Array)
    assert_array_equal(outer.value, [[3, 30], [4, 40]])
    outer.backward([[1.0, 0.0], [0.0, 1.0]])
    assert_array_equal(a.grad, [4, 14])
    assert x.grad == 4.0


def test_derivatives_of_the_derivative_of_a_gate_of_ones_own(engine):
    class Cube(engine.Gate):
        def forward(self, x):
            return x * x * x

        def backward(self, pull, x):
            return pull * 3.0 * x * x

    cube = Cube()
    assert engine.grad(cube)(2.0) == 12.0
    assert engine.grad(engine.grad(cube))(2.0) == 12.0
    assert engine.grad(engine.grad(engine.grad(cube)))(2.0) == 6.0
    assert engine.jvp(cube, (2.0,), (10.0,)) == (8.0, 120.0)
    assert engine.jvp(engine.grad(cube), (2.0,), (1.0,)) == (12.0, 12.0)


def test_a_gate_with_a_pull_of_zero_pulls_nothing(engine):
    class Steep(engine.Gate):
        def forward(self, x):
            return x * 0.0

        def backward(self, pull, x):
            return pull * math.inf

    x, a = engine.Unit(3.0), engine.Array([1.0, 2.0])
    (Steep()(x) * 0.0 + x).backward()
    assert x.grad == 1.0
    (Steep()(a) * np.zeros(2) + a).backward([1.0, 1.0])
    assert_array_equal(a.grad, [1, 1])


# Misuse


def scale_gate(engine, backward, forward=lambda x: 2.0 * x):
    """A gate with these methods."""
    methods = {"forward": lambda self, *values: forward(*values), "backward": lambda self, *rest: backward(*rest)}
    return type("Custom", (engine.Gate,), methods)()


def test_a_gate_that_raises(engine):
    class OwnError(Exception):
        pass

    error = OwnError("mine")

    def fail(*_):
        raise error

    x = engine.Unit(3.0)
    with engine.Tape() as tape:
        with pytest.raises(OwnError) as caught:
            scale_gate(engine, fail, forward=fail)(x)
        assert caught.value is error
        assert len(tape) == 0
        y = x * 5.0
        z = scale_gate(engine, fail)(y) + y
        for _ in range(2):
            with pytest.raises(OwnError) as caught:
                z.backward()
            assert caught.value is error
        assert (x.grad, y.grad, z.grad) == (0.0, 0.0, 0.0)
        y.backward()
        assert x.grad == 5.0
        tape.reset()
    assert len(tape) == 0


def test_a_gate_with_the_wrong_number_of_pulls(engine):
    x, y = engine.Unit(3.0), engine.Unit(4.0)
    for pulls in ((1.0, 2.0, 3.0), (1.0,), 1.0, ()):
        z = scale_gate(engine, lambda *_, pulls=pulls: pulls, forward=lambda x, y: x * y)(x, y)
        with pytest.raises(ValueError, match=r"Custom.*2 operands"):
            z.backward()
    assert (x.grad, y.grad) == (0.0, 0.0)


@pytest.mark.parametrize("pull", ["1", 1j, True, [1.0, 2.0], np.ones(2), object()])
def test_a_gate_with_a_wrong_pull(engine, pull):
    x = engine.Unit(3.0)
    y = x * 1.0
    with pytest.raises((TypeError, ValueError), match="Custom"):
        scale_gate(engine, lambda *_: pull)(y).backward()
    assert (x.grad, y.grad) == (0.0, 0.0)


def test_a_gate_with_a_pull_of_the_wrong_shape(engine):
    a = engine.Array([1.0, 2.0])
    for pull in (1.0, [1.0], [[1.0, 2.0]]):
        with pytest.raises(ValueError, match=r"Custom.*\(2,\)"):
            scale_gate(engine, lambda *_, pull=pull: pull)(a).backward([1.0, 1.0])
    assert_array_equal(a.grad, [0, 0])


@pytest.mark.parametrize("value", ["1", None, 1j, True, object(), np.array(["a"])])
def test_a_gate_with_a_wrong_value(engine, value):
    x = engine.Unit(3.0)
    with engine.Tape() as tape:
        with pytest.raises(TypeError, match="Custom"):
            scale_gate(engine, lambda *_: 1.0, forward=lambda x: value)(x)
        assert len(tape) == 0


def test_a_gate_that_sweeps_or_resets_its_own_tape_backward(engine):
    x = engine.Unit(3.0)
    for misuse in ("reset", "backward"):
        with engine.Tape() as tape:
            y = x * 2.0
            act = tape.reset if misuse == "reset" else y.backward
            z = scale_gate(engine, lambda *_, act=act: act() or 1.0)(y) * 1.0
            with pytest.raises(RuntimeError, match=r"(?i)tape \d+"):
                z.backward()
            assert (x.grad, y.grad, y.value) == (0.0, 0.0, 6.0)
            y.backward()
            assert x.grad == 2.0
            x.grad = 0.0


def test_a_gate_that_resets_its_tape_forward(engine):
    x = engine.Unit(3.0)
    with engine.Tape() as tape:
        y = x * 2.0
        with pytest.raises((engine.StaleUnitError, RuntimeError), match="reset"):
            scale_gate(engine, lambda *_: 1.0, forward=lambda value: tape.reset() or value)(y)
        z = x * 5.0
        z.backward()
    assert x.grad == 5.0


def test_a_gate_that_holds_its_operands_is_collected(engine, collected):
    class Holder(engine.Gate):
        def __init__(self, *held):
            self.held = held

        def forward(self, x):
            return x

        def backward(self, pull, x):
            return pull

    references = []
    x = engine.Unit(3.0)
    for _ in range(100):
        y = x * 2.0
        gate = Holder(x, y)
        z = gate(y)
        z.backward()
        references.append(weakref.ref(gate))
    assert x.grad == 200.0
    del y, z, gate
    for _ in range(30_000):
        _ = x + 1.0
    assert collected(references) == 0


def test_a_gate_that_keeps_or_changes_what_it_is_given(engine):
    a = engine.Array([1.0, 2.0])
    kept = []

    def forward(values):
        kept.append(values)
        with pytest.raises(ValueError, match="read-only"):
            values[0] = 100.0
        return values

    def backward(pull, values):
        kept.append(pull)
        return pull

    b = scale_gate(engine, backward, forward=forward)(a)
    b.backward([3.0, 4.0])
    b.backward([3.0, 4.0])
    assert_array_equal(kept[0], [1, 2])
    assert_array_equal(kept[1], [3, 4])
    assert_array_equal(a.grad, [6, 8])
    scratch = np.array([5.0, 6.0])
    c = scale_gate(engine, lambda pull, values: scratch, forward=lambda values: scratch)(a)
    scratch[:] = 0.0
    assert_array_equal(c.value, [5, 6])
    scratch[:] = 1.0
    c.backward([1.0, 1.0])
    scratch[:] = 100.0
    assert_array_equal(a.grad, [7, 9])


def test_a_gate_without_methods(engine):
    class Half(engine.Gate):
        def forward(self, x):
            return x

    x = engine.Unit(3.0)
    y = Half()(x)
    with pytest.raises(NotImplementedError, match=r"Half.*backward"):
        y.backward()
    with pytest.raises(NotImplementedError, match=r"Gate.*forward"):
        engine.Gate()(x)
    assert x.grad == 0.0
