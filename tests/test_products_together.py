"""Products of one matrix with several vectors at one point, as rows of a batch have them, are taken together."""

import gc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastprop as fp
from fastprop.engine.program import Program, current_instruction_set, instruction_sets, use_instruction_set

FORMS = {
    "X @ W.T + b": lambda w, b, x: x @ w.T + b,
    "X @ W.T": lambda w, b, x: x @ w.T,
    "X @ W + b": lambda w, b, x: x @ fp.reshape(w, (w.shape[1], w.shape[0])) + b,
    "b @ (W @ X.T)": lambda w, b, x: b @ (w @ x.T),
    "rows": lambda w, b, x: fp.stack([w @ x[i] + b for i in range(x.shape[0])]),
    "tanh of X": lambda w, b, x: fp.tanh(x) @ w.T + b,
    "some rows twice": lambda w, b, x: fp.stack([w @ x[i // 2] for i in range(x.shape[0])]) * b,
    "every other number": lambda w, b, x: fp.stack([w @ x[i, ::-1] for i in range(x.shape[0])]) - b,
    "a convolution": lambda w, b, x: fp.conv1d(x, w[:, None, :3]) + b[:, None],
    "turned numbers": lambda w, b, x: x @ w[::-1, ::-1].T + b,
    "weights from here and there": lambda w, b, x: fp.tanh(x) @ w[np.arange(w.shape[0]) * 2 % w.shape[0]].T + b,
    "two layers": lambda w, b, x: fp.relu(x @ w.T + b) @ w,
}


def together(function, *args):
    """Return how many products are taken together, of those forward and of those backward, in a circuit's programs."""
    gc.collect()
    before = {id(x) for x in gc.get_objects() if isinstance(x, Program)}
    circuit = fp.compile(function)
    circuit(*args)
    programs = [x for x in gc.get_objects() if isinstance(x, Program) and id(x) not in before]
    lines = [line for program in programs for line in program.listing() if "together" in line]
    numbers = [(line.startswith("pull"), int(line.split()[-2])) for line in lines]
    return sum(n for pull, n in numbers if not pull), sum(n for pull, n in numbers if pull)


@settings(max_examples=80)
@given(
    form=st.sampled_from(sorted(FORMS)),
    sizes=st.tuples(st.integers(1, 70), st.integers(1, 40), st.integers(4, 40)),
    dtype=st.sampled_from(["float32", "float64"]),
    instructions=st.sampled_from(instruction_sets()),
    special=st.sampled_from([None, 0.0, -0.0, np.inf, np.nan, 1e-40]),
    seed=st.integers(0, 1000),
)
def test_batches_are_what_the_reference_says(form, sizes, dtype, instructions, special, seed):
    n, rows, columns = sizes
    rng = np.random.default_rng(seed)
    w, b, x = (rng.normal(size=size).astype(dtype) for size in ((rows, columns), rows, (n, columns)))
    if special is not None:
        w[rng.integers(rows), rng.integers(columns)] = special
        x[rng.integers(n), rng.integers(columns)] = special
    taken = rng.integers(0, 2, n)  # nothing pulls on the other rows

    def loss(w, b, x):
        found = FORMS[form](w, b, x[:, None, :] if form == "a convolution" else x)
        found = fp.reshape(found, (n, found.size // n))
        return fp.sum(fp.where(taken[:, None] > 0, fp.arctan(found), 0.0))

    before = current_instruction_set()
    try:
        use_instruction_set(instructions)
        with np.errstate(all="ignore"):
            value, slopes = fp.compile(fp.value_and_grad(loss, argnums=(0, 1, 2)))(w, b, x)
    finally:
        use_instruction_set(before)
    with np.errstate(all="ignore"):
        wide = [y.astype(np.float64) for y in (w, b, x)]
        expected, expected_slopes = fp.reference.value_and_grad(loss, argnums=(0, 1, 2))(*wide)
    tolerance = {"rtol": 1e-3, "atol": 2e-4} if dtype == "float32" else {"rtol": 1e-9, "atol": 1e-11}
    np.testing.assert_allclose(value, float(expected), **tolerance)
    for found, want in zip(slopes, expected_slopes):
        np.testing.assert_allclose(found, np.asarray(want), **tolerance)


def test_rows_of_a_batch_are_taken_together():
    w, b, x = np.ones((8, 6)), np.ones(8), np.ones((100, 6))
    loss = fp.value_and_grad(lambda w, b, x: fp.sum(fp.tanh(fp.tanh(x @ w.T + b) @ w)), argnums=(0, 1))
    assert together(loss, w, b, x) == (200, 200)


def test_what_needs_what_comes_before_is_not():
    """The steps of a recurrence, whose products follow each other where nothing is between them."""
    rng = np.random.default_rng(0)
    w, x = rng.normal(size=(8, 8)) * 0.4, rng.normal(size=8)

    def loss(w, x):
        for _ in range(6):
            x = w @ x
        return fp.sum(x**2)

    function = fp.value_and_grad(loss, argnums=(0, 1))
    assert together(function, w, x) == (0, 0)
    found, expected = fp.compile(function)(w, x), fp.reference.value_and_grad(loss, argnums=(0, 1))(w, x)
    np.testing.assert_allclose(found[0], float(expected[0]), rtol=1e-12)
    for slope, want in zip(found[1], expected[1]):
        np.testing.assert_allclose(slope, np.asarray(want), rtol=1e-10)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_training_step_over_a_batch_in_a_scan(dtype):
    """Whose gradient is inside of the step."""
    rng = np.random.default_rng(1)
    w, x, y = (rng.normal(size=size).astype(dtype) for size in ((5, 7), (4, 9, 7), (4, 9, 5)))

    def step(w, batch):
        x, y = batch
        value, slope = fp.value_and_grad(lambda w: fp.mean((fp.tanh(x @ w.T) - y) ** 2))(w)
        return w - 0.5 * slope, value

    def epoch(w, x, y):
        return fp.scan(step, w, (x, y))

    assert together(epoch, w, x, y) == (5, 5)
    train = fp.compile(epoch)
    found, expected = train(w, x, y), w.astype(np.float64)
    for part in zip(x.astype(np.float64), y.astype(np.float64)):
        expected = step(expected, part)[0]
    np.testing.assert_allclose(found[0], np.asarray(expected), rtol=1e-4 if dtype == "float32" else 1e-10)
