"""Products of arrays, against NumPy on every front, and at their edges."""

import math
import platform

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import fastprop as fp
from fronts import blocks, check_derivatives, check_edge_everywhere, check_layouts, check_refused, check_values, fixed

block = blocks()

INF, NAN = math.inf, math.nan


def einsum(subscripts, *shapes):
    """A row of the table: the same einsum of arrays and Arrays."""
    return (lambda m, *x: m.einsum(subscripts, *x), *[block(*shape) for shape in shapes])


ROWS = {
    "matmul": (lambda m, a, b: m.matmul(a, b), block(2, 3), block(3, 2)),
    "matmul of stacks and a row": (lambda m, a, b: m.matmul(a, b), block(2), block(3, 2, 2)),
    "matmul of stacks that broadcast": (lambda m, a, b: m.matmul(a, b), block(2, 1, 1, 2), block(3, 2, 1)),
    "tensordot": (lambda m, a, b: m.tensordot(a, b), block(2, 2, 3), block(2, 3, 2)),
    "tensordot along axes": (lambda m, a, b: m.tensordot(a, b, ((0, -1), (1, 0))), block(2, 2, 3), block(3, 2)),
    "tensordot along none": (lambda m, a, b: m.tensordot(a, b, 0), block(2), block(2)),
    "outer": (lambda m, a, b: m.outer(a, b), block(2, 2), block(3)),
    "inner": (lambda m, a, b: m.inner(a, b), block(2, 3), block(2, 3)),
    "inner of vectors": (lambda m, a, b: m.inner(a, b), block(3), block(3)),
    "inner with a number": (lambda m, a, b: m.inner(a, b), block(3), 0.7),
    "vdot": (lambda m, a, b: m.vdot(a, b), block(2, 2), block(2, 2)),
    "kron": (lambda m, a, b: m.kron(a, b), block(2, 2), block(2)),
    "dot of a constant": (lambda m, a: m.dot(np.eye(2) + 1.0, a), block(2, 2)),
    "rows times columns": einsum("ij,jk->ik", (2, 3), (3, 2)),
    "implicit": einsum("ij,jk", (2, 3), (3, 2)),
    "implicit transpose": einsum("ba", (2, 3)),
    "the sum of products": einsum("i,i", (3,), (3,)),
    "outer by einsum": einsum("i,j->ji", (2,), (3,)),
    "elementwise": einsum("ij,ij->ij", (2, 2), (2, 2)),
    "elementwise and summed": einsum("ij,ij->i", (2, 3), (2, 3)),
    "a row alone is summed": einsum("i,j->i", (2,), (3,)),
    "stacks": einsum("bij,bjk->bik", (2, 2, 3), (2, 3, 2)),
    "stacks, turned": einsum("bhqd,bkhd->bqhk", (1, 2, 2, 3), (1, 2, 2, 3)),
    "trace": einsum("ii", (3, 3)),
    "diagonal": einsum("ii->i", (3, 3)),
    "diagonal and axis": einsum("iij->j", (2, 2, 3)),
    "diagonals that meet": einsum("iij,jk->ki", (2, 2, 3), (3, 2)),
    "sum of all": einsum("ij->", (2, 3)),
    "transpose": einsum("ijk->kij", (2, 1, 3)),
    "three operands": einsum("ij,jk,kl->il", (2, 2), (2, 3), (3, 2)),
    "three that share": einsum("i,i,i->", (3,), (3,), (3,)),
    "ellipsis": einsum("...ij,...jk->...ik", (2, 2, 3), (3, 2)),
    "ellipsis that broadcasts": einsum("...i,...i->...", (2, 1, 3), (2, 3)),
    "ellipsis implicit": einsum("i...", (2, 3)),
    "ellipsis, summed": einsum("...i->i...", (2, 1, 3)),
}


@pytest.mark.parametrize(("f", "operands"), [(row[0], row[1:]) for row in ROWS.values()], ids=ROWS)
class TestAgainstNumPy:
    def test_values(self, f, operands):
        check_values(f, *operands)

    def test_derivatives(self, f, operands):
        check_derivatives(f, *operands)


@settings(max_examples=30)
@given(data=st.data())
def test_random_einsums(data):
    lengths = {letter: data.draw(st.integers(0, 3)) for letter in "ijkl"}
    terms = data.draw(st.lists(st.text("ijkl", max_size=3), min_size=1, max_size=3))
    result = data.draw(st.permutations(sorted(set("".join(terms))))) if any(terms) else []
    result = "".join(result[: data.draw(st.integers(0, len(result)))])
    subscripts = f"{','.join(terms)}->{result}"
    operands = [np.asarray(fixed(*[lengths[x] for x in term], seed=k)) for k, term in enumerate(terms)]
    expected = np.einsum(subscripts, *operands)
    handles = [fp.Array(x) if x.ndim else fp.Unit(x) for x in operands]
    found = fp.einsum(subscripts, *handles)
    assert found.shape == expected.shape
    assert_allclose(found.value, expected, rtol=1e-13, atol=1e-13)
    found.backward(np.ones(found.shape) if found.shape else 1.0)
    for k, (handle, x) in enumerate(zip(handles, operands)):
        along = [y if i != k else np.asarray(fixed(*x.shape, seed=9)) for i, y in enumerate(operands)]
        assert_allclose(np.sum(handle.grad * along[k]), np.sum(np.einsum(subscripts, *along)), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", ["tensordot along axes", "stacks, turned"])
def test_layouts(name):
    f, a, b = ROWS[name]
    check_layouts(lambda m, x: f(m, x, b), a)
    check_layouts(lambda m, x: f(m, a, x), b)


def test_dtypes(engine):
    a, b = engine.Array(np.float32([[1, 2]])), engine.Array(np.float32([[3], [4]]))
    assert engine.einsum("ij,jk->ik", a, b).dtype == np.float32
    assert engine.einsum("ij,jk->ik", a, np.ones((2, 2))).dtype == np.float64
    assert engine.kron(a, b).dtype == np.float32
    assert engine.einsum("ij,kl->ij", a, b).dtype == np.float32


def test_methods(engine):
    a = engine.Array([[1.0, 2.0], [3.0, 4.0]])
    assert_array_equal(a.dot([1.0, 1.0]).value, [3, 7])
    assert_array_equal((a @ a).value, np.array([[7, 10], [15, 22]]))


BAD = [[INF, NAN], [1.0, 2.0]]

EDGES = {
    "(2, 0) @ (0, 3)": (lambda m, a, b: m.matmul(a, b), [np.zeros((2, 0)), np.zeros((0, 3))], np.zeros((2, 3)), [0, 0]),
    "(0, 2, 3) @ (3, 2)": (lambda m, a, b: m.matmul(a, b), [np.zeros((0, 2, 3)), np.ones((3, 2))],
     np.zeros((0, 2, 2)), [0, 0]),
    "0 times inf": (lambda m, a, b: m.matmul(a, b), [[[0.0, 1.0]], [[INF], [2.0]]], [[NAN]],
     [[[INF, 2]], [[0], [1]]]),
    "a row that is not used": (lambda m, a, b: m.matmul(a, b)[1], [BAD, [1.0, 1.0]], 3, [[[0, 0], [1, 1]], [1, 2]]),
    "by einsum": (lambda m, a, b: m.einsum("ij,j->i", a, b)[1], [BAD, [1.0, 1.0]], 3, [[[0, 0], [1, 1]], [1, 2]]),
    "by tensordot": (lambda m, a, b: m.tensordot(a, b, 1)[1], [BAD, [1.0, 1.0]], 3, [[[0, 0], [1, 1]], [1, 2]]),
    "the least of products": (lambda m, a, b: m.min(m.matmul(a, b)), [[[INF], [1.0]], [3.0]], 3, [[[0], [3]], [1]]),
    "weights of 0": (lambda m, w, a, b: m.matmul(w, m.matmul(a, b)), [[0.0, 1.0], [[INF], [2.0]], [3.0]], NAN,
     [[INF, 6], [[0], [3]], [2]]),
    "einsum i,i": (lambda m, a, b: m.einsum("i,i", a, b), [[2.0, 3.0], [2.0, 2.0]], 10, [[2, 2], [2, 3]]),
    "einsum of itself": (lambda m, a: m.einsum("i,i", a, a), [[2.0, 3.0]], 13, [[4, 6]]),
    "a sum over nothing": (lambda m, a, b: m.einsum("i,j->i", a, b), [[2.0, 3.0], np.zeros(0)], [0, 0], [0, 0]),
}  # fmt: skip


@pytest.mark.parametrize(("f", "operands", "value", "gradients"), EDGES.values(), ids=EDGES)
def test_edges(f, operands, value, gradients):
    check_edge_everywhere(f, operands, value, gradients)


REFUSED = {
    "inner lengths": (lambda a: a @ a, r"matmul of the shapes \(2, 3\) and \(2, 3\): 3 and 2 differ"),
    "stacks": (lambda a: fp.matmul(np.ones((2, 1, 2)), a * np.ones((3, 1, 1))), "their stacks do not broadcast"),
    "a number": (lambda a: fp.matmul(a[0, 0], a), "a single number is no matrix"),
    "tensordot": (lambda a: fp.tensordot(a, a, 1), r"the axes \(1,\) of \(2, 3\) do not meet the axes \(0,\)"),
    "inner": (lambda a: fp.inner(a, a[:, :2]), "do not meet"),
    "einsum of unlike lengths": (lambda a: fp.einsum("ii", a), r"of the shapes \(2, 3\): .* the lengths 2 and 3"),
    "einsum of (1, 2)": (lambda a: fp.einsum("ii", a[:1, :2]), "the lengths 1 and 2"),
    "einsum, twice in the result": (lambda a: fp.einsum("ij->ii", a), "must stand once"),
    "einsum, in no operand": (lambda a: fp.einsum("ij->k", a), "in an operand"),
    "einsum of fewer axes": (lambda a: fp.einsum("i", a), r"'i' of 'i' does not match an operand of shape \(2, 3\)"),
    "einsum of more axes": (lambda a: fp.einsum("ijk...", a), "does not match"),
    "einsum of more operands": (lambda a: fp.einsum("ij,jk", a), "has 2 operands; 1 were given"),
    "einsum of signs": (lambda a: fp.einsum("i1", a), "'1' is no letter"),
}


@pytest.mark.parametrize(("call", "text"), REFUSED.values(), ids=REFUSED)
def test_refused(call, text):
    check_refused(call, text)


def test_too_large_is_an_error_at_once():
    a = fp.Array(np.ones(10**7))
    for call in (lambda: fp.outer(a, a), lambda: a[:, None] + a):
        with pytest.raises((MemoryError, ValueError)):
            call()


def test_einsum_takes_subscripts_first():
    with pytest.raises(TypeError, match="takes the subscripts first"):
        fp.einsum(fp.Array([1.0]), [0])


@pytest.mark.parametrize("shapes", [((0, 2, 3), (3, 2)), ((0, 2, 3), (3,)), ((3,), (0, 3, 2)), ((2, 2), (0, 2, 3))])
def test_stacks_of_no_matrices_are_recorded(shapes):
    a, b = map(np.zeros, shapes)
    found, slopes = fp.compile(fp.value_and_grad(lambda a, b: fp.sum(a @ b), argnums=(0, 1)))(a, b)
    assert found == 0.0
    assert [slope.shape for slope in slopes] == list(shapes)
    assert fp.compile(lambda a, b: a @ b)(a, b).shape == (a @ b).shape


@pytest.mark.parametrize("lanes", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pulls_below_the_least_normal_number_count_as_zero_in_float32_alone(dtype, lanes):
    """Each would take a processor a hundred times as long, and networks that have learnt are full of them."""
    tiny = np.finfo(dtype).tiny / 8
    w, x, scale = np.full((16, 16), 0.5, dtype), np.ones((64, 16), dtype), np.ones(16, dtype)
    w[0, 0], scale[0] = INF, tiny

    def f(w, x, scale):
        return fp.sum((w @ x) * scale)

    if lanes:
        f, count = fp.vmap(f, in_axes=(None, 0, None), reduce="sum"), 64
    else:
        x, count = x[0], 1
    on_w, on_x = fp.compile(fp.grad(f, (0, 1)))(w, x, scale)
    assert_allclose(on_w[1:], count)
    assert_allclose(on_x[..., 1:], 7.5 + tiny)
    if dtype == np.float64 or platform.machine() not in ("x86_64", "AMD64"):
        assert_array_equal(on_w[0], count * tiny)
        assert_array_equal(on_x[..., 0], INF)
    else:
        assert_array_equal(on_w[0], 0.0)
        assert_array_equal(on_x[..., 0], 7.5)


@pytest.mark.parametrize("optimize", [True, "greedy", ["einsum_path", (0, 1), (0, 1)]])
def test_einsum_takes_numpys_option(engine, optimize):
    a, b, c = block(2, 3), block(3, 2), block(2, 2)
    expected = np.einsum("ij,jk,kl->il", a, b, c, optimize=optimize)
    for found in (
        np.einsum("ij,jk,kl->il", engine.Array(a), b, c, optimize=optimize).value,
        engine.einsum("ij,jk,kl->il", a, engine.Array(b), c, optimize=optimize).value,
        fp.compile(lambda *x: np.einsum("ij,jk,kl->il", *x, optimize=optimize))(a, b, c),
    ):
        assert_allclose(found, expected, rtol=1e-13)


@pytest.mark.parametrize(
    "call",
    [
        fp.std,
        fp.var,
        fp.norm,
        lambda x: fp.norm(x, 3),
        lambda x: fp.norm(x, axis=0),
        lambda x: fp.inner(x, x),
        lambda x: fp.vdot(x, x),
        lambda x: fp.einsum("i,i", x, x),
        lambda x: fp.tensordot(x, x, 1),
    ],
)
def test_one_plain_number_is_a_float(call):
    for x in ([3.0, 4.0], np.array([3.0, 4.0]), np.array([3, 4])):
        assert type(call(x)) is float
    assert type(call(np.array([3.0, 4.0], np.float32))) is np.float32
