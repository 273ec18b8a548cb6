"""Sums of outer products over the lanes, which second derivatives are made of: taken as products of matrices."""

import gc
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import fastprop as fp
from fastprop import nn
from fastprop.circuits.pipeline import PASSES
from fastprop.engine.program import Program, assemble, verify_program
from fastprop.engine.trace import Draft
from fastprop.gates import strong_multiply
from programs import OPCODES

RANDOM = np.random.default_rng(0)
INF, NAN = math.inf, math.nan


def programs_of(call):
    """The programs that a call makes."""
    gc.collect()
    before = {id(found) for found in gc.get_objects() if isinstance(found, Program)}
    call()
    return [found for found in gc.get_objects() if isinstance(found, Program) and id(found) not in before]


def programs_with_outers(call):
    """How many outer products each of the programs has that a call makes."""
    return [len(program.outers) for program in programs_of(call) if len(program.outers)]


def sums(left, right):
    """The sums of products of all lanes, one number after the other."""
    return fp.vmap(lambda a, b: [strong_multiply(x, y) for x in a for y in b], in_axes=(0, 0), reduce="sum")(
        left, right
    )


@pytest.mark.parametrize("lanes", [1, 2, 3, 16, 17, 100, 1000])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_sums_of_products(lanes, dtype):
    left, right = RANDOM.normal(size=(lanes, 3)).astype(dtype), RANDOM.normal(size=(lanes, 7)).astype(dtype)
    compiled = fp.compile(sums)
    assert programs_with_outers(lambda: compiled(left, right)) == [1]
    tolerance = 1e-12 if dtype == "float64" else 2e-5
    for k in (1.0, -2.0, 0.5):  # each call begins anew
        assert_allclose(compiled(left * k, right), (left.T * k @ right).ravel(), tolerance, tolerance * lanes**0.5)


def test_sums_of_several_products():
    def loss(a, b, c):
        return [strong_multiply(x, y) + strong_multiply(z, y) for x, z in zip(a, c) for y in b]

    a, b, c = (RANDOM.normal(size=(50, n)) for n in (4, 6, 4))
    compiled = fp.compile(fp.vmap(loss, reduce="sum"))
    assert programs_with_outers(lambda: compiled(a, b, c)) == [2]
    assert_allclose(compiled(a, b, c), ((a + c).T @ b).ravel(), 1e-12, 1e-12)


def beside(a, b):
    """Products that others read, that stand alone, and of numbers that are the same in all lanes."""
    products = [[strong_multiply(x, y) for y in b] for x in a]
    flat = [product for row in products for product in row]
    return [*flat[:9], fp.sum(flat), flat[9] + 1.0, *flat[10:], strong_multiply(a[0], 2.0), strong_multiply(a[0], a[0])]


def test_what_is_no_outer_product():
    a, b = RANDOM.normal(size=(20, 5)), RANDOM.normal(size=(20, 5))
    compiled = fp.compile(fp.vmap(beside, reduce="sum"))
    for _ in range(2):
        assert_allclose(compiled(a, b), np.array([beside(x, y) for x, y in zip(a, b)]).sum(0), 1e-12, 1e-12)


@pytest.mark.parametrize("lanes", [1, 5, 40])
def test_variables_that_stand_for_one_number_of_all_lanes_are_no_rows(lanes):
    def inner(v, x):
        return fp.sum(fp.tanh(v)) * x[0], [strong_multiply(a, b) for a in v for b in x]

    def body(v, x):
        return fp.grad(lambda v: inner(v, x), has_aux=True)([*v, 2.0])[1]

    v, xs = RANDOM.normal(size=4), RANDOM.normal(size=(lanes, 6))
    compiled = fp.compile(fp.vmap(body, in_axes=(None, 0), reduce="sum"))
    assert_allclose(compiled(v, xs), np.outer([*v, 2.0], xs.sum(0)).ravel(), 1e-12, 1e-12)


@given(
    rows=st.integers(1, 7),
    columns=st.integers(1, 9),
    lanes=st.integers(1, 40),
    terms=st.integers(1, 3),
    swapped=st.booleans(),
    holes=st.sets(st.integers(0, 62), max_size=3),
)
@settings(max_examples=60)
def test_all_shapes(rows, columns, lanes, terms, swapped, holes):
    left, right = RANDOM.normal(size=(lanes, terms, rows)), RANDOM.normal(size=(lanes, terms, columns))

    def products(a, b):
        found = []
        for i in range(rows):
            for j in range(columns):
                pairs = [(a[t, i], b[t, j])[:: -1 if swapped else 1] for t in range(terms)]
                number = fp.sum([strong_multiply(*pair) for pair in pairs])
                found.append(number * 2.0 if i * columns + j in holes else number)
        return found

    compiled = fp.compile(fp.vmap(products, reduce="sum"))
    expected = np.einsum("kti,ktj->ij", left, right).ravel()
    expected[[k for k in holes if k < len(expected)]] *= 2.0
    for _ in range(2):
        assert_allclose(compiled(left, right), expected, 1e-10, 1e-10)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_factors_of_exactly_0(dtype):
    left, right = np.ones((20, 4), dtype), np.ones((20, 5), dtype)
    left[3, 1], right[3, 2], left[5, 2], right[5], left[7, 0] = 0.0, NAN, 0.0, INF, INF
    left[5], left[5, 3] = 0.0, -0.0
    expected = np.array(
        [[sum(strong_multiply(float(x), float(y)) for x, y in zip(a, b)) for b in right.T] for a in left.T]
    )
    assert_array_equal(np.reshape(fp.compile(sums)(left, right), (4, 5)), expected)
    assert np.isnan(expected).sum() == 3
    assert np.isinf(expected).sum() == 4


# Run backward: what is pulled on a sum is one number for all lanes ----------------------------------------------------


def pulled_factors(left, right, pulls):
    """The gradients of both factors of the sums, from pulls on these."""
    along = np.ravel(pulls).tolist()

    def total(left, right):
        return fp.sum([number * pull for number, pull in zip(sums(left, right), along)])

    return fp.grad(total, argnums=(0, 1))(left, right)


@given(
    rows=st.integers(1, 9),
    columns=st.integers(1, 9),
    lanes=st.sampled_from([1, 2, 3, 8, 16, 17, 40, 100]),
    terms=st.integers(1, 3),
    single=st.booleans(),
    computed=st.booleans(),
    again=st.booleans(),
    holes=st.sets(st.integers(0, 80), max_size=3),
)
@settings(max_examples=80)
def test_pulls_of_all_shapes(rows, columns, lanes, terms, single, computed, again, holes):
    dtype = np.float32 if single else np.float64
    left, right = (RANDOM.normal(size=(lanes, terms, n)).astype(dtype) for n in (rows, columns))
    pulls = RANDOM.normal(size=(rows, columns))

    def products(a, b):
        """Of inputs, or of computed rows, which others read, too; some outputs are no such products."""
        a, b = ([[fp.tanh(x) if computed else x for x in row] for row in block] for block in (a, b))
        found = [
            fp.sum([strong_multiply(x[i], y[j]) for x, y in zip(a, b)]) for i in range(rows) for j in range(columns)
        ]
        found = [number * 2.0 if k in holes else number for k, number in enumerate(found)]
        return [*found, fp.sum([x * x for row in (*a, *b) for x in row])] if again else found

    mapped = fp.vmap(products, reduce="sum")

    def total(left, right):
        weights = [*pulls.ravel().tolist(), *[0.5] * again]
        return fp.sum([number * weight for number, weight in zip(mapped(left, right), weights, strict=True)])

    compiled = fp.compile(lambda left, right: fp.grad(total, argnums=(0, 1))(left, right))
    found = []
    programs = programs_of(lambda: found.append(compiled(left, right)))
    if not holes and rows > 1 and columns >= 4 and rows * columns >= 16:
        assert [len(program.outers) for program in programs if program.gradient] == [terms]
    weights = pulls * np.reshape([2.0 if k in holes else 1.0 for k in range(rows * columns)], pulls.shape)
    x, y = (np.tanh(block) if computed else block for block in (left.astype(float), right.astype(float)))
    on_x, on_y = y @ weights.T + (x if again else 0.0), x @ weights + (y if again else 0.0)
    expected = [on * (1.0 - value**2) if computed else on for on, value in ((on_x, x), (on_y, y))]
    tolerance = 2e-5 if single else 1e-12
    for _ in range(2):
        for part, other in zip(compiled(left, right), expected, strict=True):
            assert part.dtype == dtype
            assert_allclose(part, other, tolerance, tolerance)


def test_pulls_where_a_row_is_on_both_sides():
    a, pulls = RANDOM.normal(size=(20, 5)), RANDOM.normal(size=(5, 5))

    def total(a):
        return fp.sum([number * pull for number, pull in zip(sums(a, a), pulls.ravel().tolist())])

    compiled = fp.compile(lambda a: fp.grad(total)(a))
    assert programs_with_outers(lambda: compiled(a))
    assert_allclose(compiled(a), a @ (pulls + pulls.T), 1e-12, 1e-12)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_pulls_on_factors_of_exactly_0(dtype, every_instruction_set):
    left, right, pulls = np.ones((20, 4), dtype), np.ones((20, 5), dtype), np.ones((4, 5))
    left[3, 1], right[3, 2], left[5, 2], right[5], left[7, 0], right[9, 1] = 0.0, NAN, 0.0, INF, INF, -0.0
    pulls[1], pulls[2, 2], pulls[3, 1], pulls[0, 4] = 0.0, -0.0, INF, NAN

    def added(numbers, others):
        return sum(strong_multiply(float(x), float(y)) for x, y in zip(numbers, others))

    on_left = [[added(row, y) for row in pulls] for y in right]
    on_right = [[added(column, x) for column in pulls.T] for x in left]
    for _ in every_instruction_set:
        compiled = fp.compile(lambda left, right: pulled_factors(left, right, pulls))
        assert programs_with_outers(lambda: compiled(left, right))  # noqa: B023
        found = compiled(left, right)
        assert_array_equal(found[0], on_left)
        assert_array_equal(found[1], on_right)
    assert np.isnan(on_left).sum() == 21
    assert not np.any(np.transpose(on_left)[1])


def network(p, x):
    (w, b), (v, c) = p
    return v @ fp.tanh(w @ x + b) + c


def loss(p, xs, ys):
    return fp.mean(fp.vmap(lambda x, y: nn.cross_entropy(network(p, x), y))(xs, ys))


P = [(RANDOM.normal(size=(6, 5)), RANDOM.normal(size=6)), (RANDOM.normal(size=(4, 6)), RANDOM.normal(size=4))]
Q = [(np.cos(w), np.sin(b)) for w, b in P]
XS, YS = RANDOM.normal(size=(40, 5)), RANDOM.integers(0, 4, 40)


def hessian_product(p, q, xs, ys):
    return fp.jvp(lambda p: fp.grad(loss)(p, xs, ys), (p,), (q,))[1]


def flat(tree):
    return np.concatenate([np.ravel(part) for pair in tree for part in pair])


def test_products_with_a_hessian():
    compiled = fp.compile(hessian_product)
    assert programs_with_outers(lambda: compiled(P, Q, XS, YS))
    step = 1e-5
    there, back = ([(w + s * dw, b + s * db) for (w, b), (dw, db) in zip(P, Q)] for s in (step, -step))
    by_difference = (flat(fp.grad(loss)(there, XS, YS)) - flat(fp.grad(loss)(back, XS, YS))) / (2 * step)
    for _ in range(2):
        found = flat(compiled(P, Q, XS, YS))
        assert_allclose(found, by_difference, 1e-6, 1e-9)
    with fp.eager():
        assert_allclose(found, flat(hessian_product(P, Q, XS, YS)), 1e-11, 1e-13)


def test_a_label_that_there_is_not_is_named_and_leaves_nothing():
    compiled = fp.compile(hessian_product)
    expected = flat(compiled(P, Q, XS, YS))
    with pytest.raises(IndexError, match="lane 17"):
        compiled(P, Q, XS, np.where(np.arange(40) == 17, 4, YS))
    assert_array_equal(flat(compiled(P, Q, XS, YS)), expected)


def test_other_numbers_of_lanes_one_after_the_other():
    compiled = fp.compile(hessian_product)
    for lanes in (40, 7, 1, 23, 40):
        with fp.eager():
            expected = flat(hessian_product(P, Q, XS[:lanes], YS[:lanes]))
        assert_allclose(flat(compiled(P, Q, XS[:lanes], YS[:lanes])), expected, 1e-10, 1e-12, 1e-12)


def test_same_bits_on_any_threads_and_right_on_all_processors(always_threads, threads_as_before, every_instruction_set):
    xs, ys = RANDOM.normal(size=(3000, 5)), RANDOM.integers(0, 4, 3000)
    expected = None
    for _ in every_instruction_set:
        compiled, found = fp.compile(hessian_product), []
        for threads in (1, 2, 4):
            fp.set_num_threads(threads)
            found.append(flat(compiled(P, Q, xs, ys)))
        assert_array_equal(found[1], found[0])
        assert_array_equal(found[2], found[0])
        expected = found[0] if expected is None else expected
        assert_allclose(found[0], expected, 1e-9, 1e-12, 1e-12)


def test_without_products_there_are_none():
    left, right = RANDOM.normal(size=(9, 4)), RANDOM.normal(size=(9, 4))
    with_all = fp.compile(sums)
    plain = fp.compile(sums, passes=[name for name in PASSES if name != "reroll"])
    assert programs_with_outers(lambda: plain(left, right)) == []
    assert_allclose(plain(left, right), with_all(left, right), 1e-13)


def moved(p, xs, ys):
    """The loss at parameters that a gradient has moved, as MAML has it."""
    return loss([(w - 0.1 * dw, b - 0.1 * db) for (w, b), (dw, db) in zip(p, fp.grad(loss)(p, xs, ys))], xs, ys)


def slope(p, q, xs, ys):
    """The gradient along a direction: its own gradient is a product with the Hessian, reverse over reverse."""
    return fp.sum([fp.sum(a * b) for pair, other in zip(fp.grad(loss)(p, xs, ys), q) for a, b in zip(pair, other)])


@pytest.mark.parametrize("lanes", [1, 3, 8, 40])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", ["moved", "slope"])
def test_gradients_of_what_has_gradients_inside(name, dtype, lanes):
    p, q = ([(w.astype(dtype), b.astype(dtype)) for w, b in layers] for layers in (P, Q))
    xs, ys = XS[:lanes].astype(dtype), YS[:lanes]
    f = {"moved": lambda p: moved(p, xs, ys), "slope": lambda p: slope(p, q, xs, ys)}[name]
    compiled = fp.compile(fp.grad(f))
    assert any(len(program.outers) for program in programs_of(lambda: compiled(p)) if program.gradient)
    found = flat(compiled(p))
    assert found.dtype == dtype
    with fp.eager():
        assert_allclose(found, flat(fp.grad(f)(p)), 2e-4 if dtype == "float32" else 1e-11, 1e-6)
    if dtype == "float64" and lanes <= 3:  # more lanes are compared above, and cost as many calls
        assert_allclose(found, flat(fp.numerical_grad(f, (p,))[0]), 1e-5, 1e-8)
    assert_array_equal(flat(compiled(p)), found)


def test_third_derivatives():
    def curvature(p, xs, ys):
        return slope(p, fp.grad(slope)(p, Q, xs, ys), xs, ys)

    compiled = fp.compile(fp.grad(lambda p: curvature(p, XS[:5], YS[:5])))
    found = flat(compiled(P))
    with fp.eager():
        assert_allclose(found, flat(fp.grad(curvature)(P, XS[:5], YS[:5])), 1e-10, 1e-11)


def test_same_bits_of_gradients_on_any_threads_and_processors(always_threads, threads_as_before, every_instruction_set):
    xs, ys = RANDOM.normal(size=(3000, 5)), RANDOM.integers(0, 4, 3000)
    expected = None
    for _ in every_instruction_set:
        compiled, found = fp.compile(lambda p, xs, ys: fp.grad(moved)(p, xs, ys)), []
        for threads in (1, 2, 4):
            fp.set_num_threads(threads)
            found.append(flat(compiled(P, xs, ys)))
        assert_array_equal(found[1], found[0])
        assert_array_equal(found[2], found[0])
        expected = found[0] if expected is None else expected
        assert_allclose(found[0], expected, 1e-9, 1e-12, 1e-12)


def outer_draft(**changed):
    """The products of two inputs with eight, which are added up."""
    opcode = [OPCODES["strong_multiply"]] * 16
    operand = [x for i in range(2) for j in range(8) for x in (i, 2 + j)]
    found = {"inputs": 10, "constants": [], "opcode": opcode, "first": range(0, 33, 2), "operand": operand}
    found |= {"origin": range(16), "outputs": range(10, 26), "guards": [], "expected": []}
    return Draft(**{name: list(x) if isinstance(x, range) else x for name, x in (found | changed).items()})


def test_a_product_that_is_a_guard_is_computed_for_itself():
    program = assemble(outer_draft(), lanes=True, gradient=False, sums=16)
    verify_program(program)
    assert program.outers[:, :3].tolist() == [[0, 2, 8]]
    program = assemble(outer_draft(guards=[25], expected=[1]), lanes=True, gradient=False, sums=16)
    verify_program(program)
    assert program.guards[0] >= 0
    assert program.outers[:, 1:3].tolist() == []


@pytest.mark.parametrize(
    ("sums", "options"), [(17, {}), (-1, {}), (17, {"gradient": True}), (16, {"lanes": False})], ids=str
)
def test_sums_that_are_no_outputs_of_lanes_are_refused(sums, options):
    with pytest.raises(ValueError, match=f"{sums} outputs of 16 are summed up; expected some of lanes, or none"):
        assemble(outer_draft(), **({"lanes": True, "gradient": False} | options), sums=sums)


def test_verified_programs_say_how_factors_are_pulled():
    program = assemble(outer_draft(), lanes=True, gradient=True, sums=16)
    verify_program(program)
    assert program.outers[:, :3].tolist() == [[0, 2, 8]]
    assert (program.outputs < 0).all()
    assert (program.seeds < 0).all()
    program.outers[0, 3] = 12
    with pytest.raises(ValueError, match="outer product 0 lists"):
        verify_program(program)
    unwanted = assemble(outer_draft(), lanes=True, gradient=True, sums=16, wanted=np.arange(10) < 2)
    verify_program(unwanted)
    assert unwanted.instructions[1] == 0


@pytest.mark.parametrize(
    ("array", "place", "number", "message"),
    [
        ("outers", (0, 0), 1, "outer product 0 gives 16 outputs from 1 on, of 16"),
        ("outers", (0, 3), 90, "outer product 0 lists 90 to 99 of 10"),
        ("outputs", 3, 4, "outputs without a slot are not those of outer products"),
        ("uniform", 3, 1, "outer product 0 reads slot 3 as a row; it is one number for all lanes"),
    ],
)
def test_programs_with_wrong_outer_products_are_found(array, place, number, message):
    program = assemble(outer_draft(), lanes=True, gradient=False, sums=16)
    getattr(program, array)[place] = number
    with pytest.raises(ValueError, match=message):
        verify_program(program)
