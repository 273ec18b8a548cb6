"""Functions that move numbers, against NumPy on every front: shapes, joins, parts, frames, orders, repetitions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

import fastprop as fp
from fronts import blocks, check_derivatives, check_edge_everywhere, check_layouts, check_values, fixed

block = blocks()

ROWS = {
    "reshape": (lambda m, a: m.reshape(a, (3, -1)), block(2, 3)),
    "reshape to one axis": (lambda m, a: m.reshape(a, 6), block(2, 3)),
    "ravel": (lambda m, a: m.ravel(a) * np.arange(6), block(3, 2)),
    "transpose": (lambda m, a: m.transpose(a, (1, 2, 0)), block(2, 3, 2)),
    "squeeze": (lambda m, a: m.squeeze(a), block(1, 3, 1)),
    "squeeze of one axis": (lambda m, a: m.squeeze(a, -1), block(1, 3, 1)),
    "expand_dims": (lambda m, a: m.expand_dims(a, (0, -1)), block(3)),
    "swapaxes": (lambda m, a: m.swapaxes(a, 0, -1), block(2, 1, 3)),
    "moveaxis": (lambda m, a: m.moveaxis(a, (0, 1), (-1, 0)), block(2, 3, 2)),
    "atleast_1d": (lambda m, a, b: m.atleast_1d(a, b), 0.7, block(2)),
    "atleast_2d": (lambda m, a, b: m.atleast_2d(a, b), 0.7, block(2)),
    "atleast_3d": (lambda m, a, b: m.atleast_3d(a, b), block(2), block(2, 3)),
    "broadcast_to": (lambda m, a: m.broadcast_to(a, (2, 3)), block(3)),
    "broadcast_arrays": (lambda m, a, b: m.broadcast_arrays(a, b), block(3), block(2, 1)),
    "stack": (lambda m, a, b: m.stack([a, b, a]), block(2), block(2)),
    "stack along another axis": (lambda m, a, b: m.stack([a, b], axis=-1), block(2, 2), block(2, 2)),
    "stack of numbers": (lambda m, a, b: m.stack([a, b]), 0.3, -0.7),
    "concatenate": (lambda m, a, b: m.concatenate([a, b, a]), block(2, 2), block(1, 2)),
    "concatenate along axis -1": (lambda m, a, b: m.concatenate((a, b), axis=-1), block(2, 1), block(2, 3)),
    "concatenate in a row": (lambda m, a, b: m.concatenate([a, b], axis=None), block(2, 2), block(3)),
    "concatenate with constants": (lambda m, a: m.concatenate([np.ones(2), a]), block(2)),
    "hstack": (lambda m, a, b: m.hstack([a, b]), block(2, 1), block(2, 2)),
    "hstack of numbers and rows": (lambda m, a, b: m.hstack([a, b]), 0.5, block(2)),
    "vstack": (lambda m, a, b: m.vstack([a, b]), block(3), block(2, 3)),
    "split": (lambda m, a: m.split(a, 2), block(4)),
    "split at places": (lambda m, a: m.split(a, [1, 1, -1], axis=1), block(2, 4)),
    "array_split": (lambda m, a: m.array_split(a, 3), block(5)),
    "pad": (lambda m, a: m.pad(a, 1), block(2, 2)),
    "pad of each axis": (lambda m, a: m.pad(a, ((0, 2), (1, 0)), constant_values=0.5), block(2, 2)),
    "pad edge": (lambda m, a: m.pad(a, (2, 1), "edge"), block(3)),
    "pad reflect": (lambda m, a: m.pad(a, 2, mode="reflect"), block(3, 3)),
    "pad symmetric": (lambda m, a: m.pad(a, (3, 1), "symmetric"), block(2)),
    "pad wrap": (lambda m, a: m.pad(a, (1, 4), "wrap"), block(3)),
    "flip": (lambda m, a: m.flip(a), block(2, 2)),
    "flip of axes": (lambda m, a: m.flip(a, (0, -1)), block(2, 2, 2)),
    "roll": (lambda m, a: m.roll(a, -7), block(2, 2)),
    "roll of axes": (lambda m, a: m.roll(a, (1, 2), (0, -1)), block(2, 3)),
    "tile": (lambda m, a: m.tile(a, (2, 3)), block(2)),
    "tile of more axes": (lambda m, a: m.tile(a, 2), block(2, 2)),
    "tile 0": (lambda m, a: m.tile(a, 0), block(2)),
    "repeat": (lambda m, a: m.repeat(a, 2), block(2, 2)),
    "repeat each": (lambda m, a: m.repeat(a, [0, 2, 1], axis=1), block(2, 3)),
}


@pytest.mark.parametrize(("f", "operands"), [(row[0], row[1:]) for row in ROWS.values()], ids=ROWS)
class TestAgainstNumPy:
    def test_values(self, f, operands):
        check_values(f, *operands, exact=True)

    def test_derivatives(self, f, operands):
        check_derivatives(f, *operands)


METHODS = {
    "reshape": lambda a: a.reshape(3, 2),
    "ravel": lambda a: a.ravel(),
    "flatten": lambda a: a.flatten(),
    "transpose": lambda a: a.transpose((1, 0)),
    "squeeze": lambda a: a[None].squeeze(0),
    "swapaxes": lambda a: a.swapaxes(0, 1),
    "repeat": lambda a: a.repeat(2, axis=0),
}


@pytest.mark.parametrize("f", METHODS.values(), ids=METHODS)
def test_methods_are_numpys(engine, f):
    x = block(2, 3)
    assert_array_equal(f(engine.Array(x)).value, f(x))


@pytest.mark.parametrize("name", ["reshape", "pad edge", "roll of axes", "flip"])
def test_layouts(name):
    f, operand = ROWS[name]
    check_layouts(f, block(3, 3) if name == "roll of axes" else operand)


shapes = st.lists(st.integers(0, 3), min_size=1, max_size=3).map(tuple)


@settings(max_examples=20)
@given(shape=shapes, dtype=st.sampled_from([np.float32, np.float64]), data=st.data())
def test_random_shapes_and_dtypes(shape, dtype, data):
    x = fixed(*shape).astype(dtype)
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    by = data.draw(st.integers(-4, 4))
    for f in (
        lambda m, a: m.concatenate([a, a], axis=axis),
        lambda m, a: m.stack([a, a], axis=axis),
        lambda m, a: m.roll(a, by, axis),
        lambda m, a: m.flip(a, axis),
        lambda m, a: m.pad(a, abs(by)),
        lambda m, a: m.repeat(a, abs(by), axis),
        lambda m, a: m.moveaxis(a, axis, 0),
        lambda m, a: m.expand_dims(a, axis),
        lambda m, a: m.tile(a, abs(by)),
    ):
        handle = fp.Array(x)
        found, expected = f(np, handle), f(np, x)
        assert found.dtype == expected.dtype
        assert_array_equal(found.value, expected)
        found.backward(np.ones(found.shape, dtype))
        assert handle.grad.sum() == np.sum(f(np, np.ones_like(x)))


def test_dtypes_mix_as_in_numpy(engine):
    a, b = engine.Array(np.float32([1, 2])), engine.Array([3.0])
    c = engine.concatenate([a, b])
    assert c.dtype == np.float64
    c.backward([0.1, 0.2, 0.3])
    assert a.grad.dtype == np.float32
    assert_array_equal(a.grad, np.float32([0.1, 0.2]))


def test_plain_arrays_stay_what_they_are(engine):
    labels = np.array([1, 2])
    assert engine.concatenate([labels, labels]).dtype == labels.dtype
    assert engine.stack([labels > 1, labels > 1]).dtype == bool


EDGES = [
    # function, operands, value, gradients, pull
    (lambda m, a: m.pad(a, (4, 0), "reflect"), [[1.0, 2.0, 3.0]], [1, 2, 3, 2, 1, 2, 3], [[2, 3, 2]]),
    (lambda m, a: m.pad(a, 2, "reflect"), [[1.0]], [1, 1, 1, 1, 1], [[5]]),
    (lambda m, a, u: m.pad(a, (1, 2), constant_values=u), [[1.0, 2.0], 7.0], [7, 1, 2, 7, 7], [[1, 1], 3]),
    (lambda m, a: m.repeat(a, [0, 2, 1]), [[1.0, 2.0, 3.0]], [2, 2, 3], [[0, 2, 1]]),
    (lambda m, a: m.tile(a, 0), [[1.0, 2.0]], [], [[0, 0]]),
    (lambda m, a: m.roll(a, -7), [[1.0, 2.0, 3.0]], [2, 3, 1], [[1, 1, 1]]),
]


@pytest.mark.parametrize(("f", "operands", "value", "gradients"), EDGES)
def test_edges(f, operands, value, gradients):
    check_edge_everywhere(f, operands, value, gradients)


REFUSED = {
    "reshape": (lambda a: fp.reshape(a, (4, -1)), "reshape"),
    "reshape of nothing": (lambda a: fp.reshape(a[:0], (0, -1)), "reshape"),
    "squeeze": (lambda a: fp.squeeze(a, 0), "axis 0 of shape .2, 3. has length 2"),
    "concatenate": (lambda a: fp.concatenate([a, a[:, :1], a]), r"\(2, 3\), \(2, 1\), \(2, 3\) differ"),
    "concatenate of other dimensions": (lambda a: fp.concatenate([a[0], a]), r"\(3,\), \(2, 3\) differ"),
    "concatenate (0,) and (2, 3)": (lambda a: fp.concatenate([a[0, :0], a]), r"\(0,\), \(2, 3\)"),
    "concatenate of a number": (lambda a: fp.concatenate([a, a[0, 0]]), "no axis"),
    "stack": (lambda a: fp.stack([a, a[0]]), r"\(2, 3\), \(3,\)"),
    "split": (lambda a: fp.split(a, 2, axis=1), "3 along axis 1 do not make 2 equal parts"),
    "no parts": (lambda a: fp.array_split(a, 0), "at least one"),
    "pad by less than nothing": (lambda a: fp.pad(a, -1), "none below 0"),
    "pad of nothing": (lambda a: fp.pad(a[:0], 1, "edge"), r".{20}"),
    "tile": (lambda a: fp.tile(a, -1), "none below 0"),
    "transpose": (lambda a: fp.transpose(a, (0, 0)), "no order"),
    "broadcast_to": (lambda a: fp.broadcast_to(a, (3,)), r".{20}"),
    "too large": (lambda a: fp.pad(a, 2**62), r".{10}"),
    "far too large": (lambda a: fp.repeat(a, 2**62), r".{10}"),
}


@pytest.mark.parametrize(("call", "text"), REFUSED.values(), ids=REFUSED)
def test_refused(call, text):
    for make in (fp.Array, lambda x: None):
        a = make(np.ones((2, 3)))
        if a is None:
            with pytest.raises((ValueError, MemoryError)):
                fp.compile(call)(np.ones((2, 3)))
        else:
            with pytest.raises((ValueError, MemoryError), match=text):
                call(a)
            assert_array_equal(a.grad, np.zeros((2, 3)))


def test_nothing_to_join():
    with pytest.raises(ValueError, match=r"need at least one array|nothing to join"):
        fp.concatenate([])


def test_axes_out_of_range():
    a = fp.Array(np.ones((2, 3)))
    for call in (
        lambda: fp.concatenate([a, a], axis=2),
        lambda: fp.stack([a, a], axis=3),
        lambda: fp.expand_dims(a, 4),
        lambda: fp.swapaxes(a, 0, 2),
        lambda: fp.flip(a, 2),
        lambda: fp.moveaxis(a, 2, 0),
    ):
        with pytest.raises(np.exceptions.AxisError, match="out of bounds"):
            call()


def test_modes_that_are_no_gates():
    with pytest.raises(TypeError, match='use "constant" or one of'):
        fp.pad(fp.Array([1.0]), 1, "mean")
    with pytest.raises(TypeError, match="integers"):
        fp.pad(fp.Array([1.0]), 0.5)


def test_a_view_keeps_its_numbers_when_the_leaf_is_assigned(engine):
    a = engine.Array([1.0, 2.0, 3.0])
    views = [engine.reshape(a, (3, 1)), a[1:], engine.flip(a)]
    a.value = [9.0, 9.0, 9.0]
    assert_array_equal(views[0].value[:, 0], [1, 2, 3])
    assert_array_equal(views[1].value, [2, 3])
    assert_array_equal(views[2].value, [3, 2, 1])


def test_a_captured_leaf_is_read_at_every_call():
    w = fp.Array([1.0, 2.0])
    f = fp.compile(lambda x: fp.sum(fp.concatenate([fp.flip(w), x])))
    assert f(np.array([1.0])).value == 4.0
    w.value = [10.0, 20.0]
    assert f(np.array([1.0])).value == 31.0


def test_gathers_add_up_in_float64():
    a = fp.Array(np.ones(3, np.float32))
    fp.repeat(a, 2**20, axis=0).backward(np.full(3 * 2**20, np.float32(0.1)))
    assert_array_equal(a.grad, np.float32(2**20 * float(np.float32(0.1))))


@pytest.mark.parametrize(
    "given",
    [np.broadcast_to(block(3), (3, 3)), np.lib.stride_tricks.sliding_window_view(block(5), 3), block(6, 3)[::-2, ::-1]],
    ids=["without strides", "overlapping", "backwards"],
)
def test_views_count_as_their_numbers(given):
    copy = np.ascontiguousarray(given)
    for f in (
        lambda a: fp.concatenate([a, a], 1),
        lambda a: fp.softmax(a),
        lambda a: fp.cumsum(a),
        lambda a: fp.einsum("ij,kj->ik", a, a),
        lambda a: fp.sort(a, 0),
        lambda a: fp.conv1d(a[:, None], a[:2, None, :2]),
        lambda a: fp.solve(a + 5.0 * np.eye(3), a),
    ):
        found, expected = f(fp.Array(given)), f(fp.Array(copy))
        assert_array_equal(found.value, expected.value)
        assert_array_equal(f(given), f(copy))
        assert_array_equal(fp.compile(f)(given), fp.compile(f)(copy))


def test_lengths_of_none(engine):
    a, b = engine.Array(np.ones((3, 1))), engine.Array(np.zeros((3, 0)))
    (a * b).backward(np.zeros((3, 0)))
    assert (a * b).shape == (3, 0)
    assert_array_equal(a.grad, np.zeros((3, 1)))
    with pytest.raises(ValueError, match=r".{20}"):
        engine.Array(np.zeros(0)) + engine.Array(np.zeros(2))


def test_traced_integers_stay_integers_among_themselves():
    table, tokens = np.arange(8.0).reshape(4, 2), np.array([3, 1])
    for f in (
        lambda i: np.concatenate([[0], i]),
        lambda i: fp.concatenate([i, np.array([2, 0])]),
        lambda i: fp.stack([i[1], 0]),
        lambda i: np.stack([i, i[::-1]], axis=1),
        lambda i: fp.flip(fp.tile(i, 2)),
        lambda i: fp.repeat(i, 2).reshape(2, 2).T,
    ):
        assert_array_equal(fp.compile(lambda a, i: a[f(i)])(table, tokens), table[f(tokens)])  # noqa: B023
    assert fp.compile(lambda i: fp.concatenate([i, [0.5]]))(tokens)[2] == 0.5
    with pytest.raises(TypeError, match="are indices"):
        fp.compile(lambda a, i: a[fp.concatenate([i, [0.5]])])(table, tokens)


def test_transposes_of_matrices_and_copies():
    def changed(m, a):
        return [np.swapaxes(a, -1, -2) if isinstance(a, np.ndarray) else a.mT, np.copy(a), a.copy()]

    check_values(changed, block(2, 3, 4), exact=True)
    check_derivatives(changed, block(2, 3, 4))
    with pytest.raises(ValueError, match="out of bounds"):
        _ = fp.Array([1.0]).mT


def test_numbers_have_what_numpys_have(engine):
    x = engine.Unit(2.5)
    assert (x.ndim, x.size, x.astype(int), x.astype(bool)) == (0, 1, 2, True)
    assert type(x.astype(int)) is np.int64
    assert (x.copy().value, x.astype(float).value, x.reshape(-1, 1).shape, x.reshape((1,)).shape) == (
        2.5, 2.5, (1, 1), (1,),
    )  # fmt: skip
    (x.reshape(1, 1) * x.flatten() * x.copy()).sum().backward()
    assert x.grad == 3 * 2.5**2
    with pytest.raises(ValueError, match="reshape"):
        x.reshape(2)


def test_traced_numbers_have_it_too():
    def f(a):
        return a[0].reshape(1, 1) * a[1].flatten() * a[0].copy() * a[1].astype(int) + a[0].ndim

    expected = np.array([[3.0 * 2.5 * 3.0 * 2.0]])
    assert_array_equal(fp.compile(f)(np.array([3.0, 2.5])), expected)
    assert_array_equal(fp.compile(fp.vmap(f))(np.array([[3.0, 2.5]])), expected[None])
    assert_array_equal(fp.compile(fp.grad(lambda a: f(a).sum()))(np.array([3.0, 2.5])), [30.0, 18.0])
