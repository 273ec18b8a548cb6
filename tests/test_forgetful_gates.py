"""Gates of one's own that forget to return: a TypeError that names them, wherever they run."""

import numpy as np
import pytest

import fastprop as fp

X = np.array([1.0, -2.0, 3.0])


class Square(fp.Gate):
    """Its backward computes the pull and returns nothing."""

    def forward(self, x):
        return x * x

    def backward(self, pull, x):
        _ = 2.0 * x * pull


class SquareOfLanes(Square):
    vectorised = True


class Product(fp.Gate):
    def forward(self, x, y):
        return x * y

    def backward(self, pull, x, y):
        _ = pull * y, pull * x


class Nothing(fp.Gate):
    def forward(self, x):
        _ = x * x

    def backward(self, pull, x):
        return 2.0 * x * pull


class NothingOfLanes(Nothing):
    vectorised = True


BACKWARD = [
    lambda gate: fp.grad(gate)(3.0),
    lambda gate: fp.value_and_grad(gate)(3.0),
    lambda gate: fp.vjp(gate, 3.0)[1](1.0),
    lambda gate: fp.jvp(gate, (3.0,), (1.0,)),
    lambda gate: fp.hessian(gate)(3.0),
    lambda gate: fp.hvp(gate, (3.0,), (1.0,)),
    lambda gate: fp.jacobian(lambda x: gate(x[0]))([3.0]),
    lambda gate: fp.grad(lambda a: gate(a).sum())(X),
    lambda gate: fp.compile(fp.grad(gate))(3.0),
    lambda gate: fp.compile(lambda x: fp.grad(gate)(x))(3.0),
    lambda gate: fp.trace(gate, 3.0).value_and_grad(3.0),
    lambda gate: fp.trace(gate, 3.0).forward(3.0).backward(),
    lambda gate: fp.compile(fp.grad(fp.vmap(gate, reduce="sum")))(X),
    lambda gate: fp.grad(fp.vmap(gate, reduce="sum"))(X),
]
BACKWARD_OF_HANDLES = [
    lambda gate, engine: gate(engine.Unit(3.0)).backward(),
    lambda gate, engine: gate(engine.Array(X)).backward(X),
    lambda gate, engine: engine.grad(gate)(3.0),
    lambda gate, engine: engine.jvp(gate, (3.0,), (1.0,)),
    lambda gate, engine: engine.hessian(gate)(3.0),
    lambda gate, engine: engine.grad(lambda a: gate(a).sum())(X),
]
FORWARD = [
    lambda gate: gate(3.0),
    lambda gate: gate(X),
    lambda gate: fp.grad(gate)(3.0),
    lambda gate: fp.trace(gate, 3.0),
    lambda gate: fp.compile(gate)(3.0),
    lambda gate: fp.vmap(gate)(X),
]


@pytest.mark.parametrize("gate", [Square(), SquareOfLanes()], ids=lambda gate: gate.name)
@pytest.mark.parametrize("use", BACKWARD, ids=range(len(BACKWARD)))
def test_a_backward_that_returns_nothing(use, gate):
    with pytest.raises(TypeError, match=rf"{gate.name}\.backward returned None"):
        use(gate)


@pytest.mark.parametrize("use", BACKWARD_OF_HANDLES, ids=range(len(BACKWARD_OF_HANDLES)))
def test_a_backward_that_returns_nothing_to_handles(engine, use):
    with pytest.raises(TypeError, match=r"Square\.backward returned None"):
        use(Square(), engine)


def test_a_backward_that_returns_nothing_for_two_operands(engine):
    with pytest.raises(TypeError, match=r"Product\.backward returned None"):
        engine.grad(Product())(3.0, 4.0)


@pytest.mark.parametrize("gate", [Nothing(), NothingOfLanes()], ids=lambda gate: gate.name)
@pytest.mark.parametrize("use", FORWARD, ids=range(len(FORWARD)))
def test_a_forward_that_returns_nothing(use, gate):
    with pytest.raises(TypeError, match=rf"{gate.name}.*None"):
        use(gate)


def test_operands_may_go_without_a_pull(engine):
    class First(engine.Gate):
        def forward(self, x, y):
            return x * y

        def backward(self, pull, x, y):
            return pull * y, None

    assert engine.grad(First(), argnums=(0, 1))(3.0, 4.0) == (4.0, 0.0)
    assert fp.compile(fp.grad(First(), argnums=(0, 1)))(3.0, 4.0) == (4.0, 0.0)
