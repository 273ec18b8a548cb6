"""Circuits, and three ways to make their output grow: at random, by probing, by backpropagation."""

import sys

import fastprop as fp


def product(x, y):
    """A circuit of a single gate."""
    return x * y


def circuit(x, y, z):
    """Two gates: the first one's result goes into the second."""
    return (x + y) * z


def many(*inputs):
    """A chain of one gate for every input: the more inputs, the dearer it is to probe them one by one."""
    total = 1.0
    for i, value in enumerate(inputs):
        total = total * (1.0 + value * value / (i + 1.0))
    return total


def main(quick=False):
    """Walk from one gate to many."""
    # The product of -2 and 3 is -6. We want more than that, by moving both inputs just a little.
    x, y = -2.0, 3.0
    print(f"start: {product(x, y)}")

    # Strategy 1 needs no idea at all: shake the inputs a hundred times, and keep the best that came out.
    (best_x, best_y), found = fp.random_search(product, (x, y), step=0.01, tries=100, seed=0)
    print(f"random search: {found:.4f} at ({best_x:.4f}, {best_y:.4f})")
    # Nothing beats the corner of the square in which it looks, and a hundred tries come close to it.
    assert -5.97 < found <= product(-1.99, 2.99)

    # Strategy 2 asks first. Each input in turn is moved a hair's breadth, and the change of the output, per unit of
    # movement, is the force with which the circuit pulls on that input.
    pull_x, pull_y = fp.numerical_grad(product, (x, y))
    print(f"probing: pulls of {pull_x:.4f} and {pull_y:.4f}")
    assert abs(pull_x - 3.0) < 1e-8
    assert abs(pull_y + 2.0) < 1e-8
    # A step of the same kind of size in that direction gets further than the luckiest of the hundred.
    assert product(x + 0.01 * pull_x, y + 0.01 * pull_y) > found

    # Strategy 3 knows the answer: a product pulls on each of its inputs with the other one. A Unit carries both numbers
    # of a wire, its value and the pull on it, and `backward` fills in the pulls.
    u, v = fp.Unit(x), fp.Unit(y)
    out = u * v
    out.backward()
    print(f"backpropagation: pulls of {u.grad} and {v.grad}")
    assert (u.grad, v.grad) == (3.0, -2.0)
    u.value += 0.01 * u.grad
    v.value += 0.01 * v.grad
    assert round((u * v).value, 4) == -5.8706

    # Gates in a row pass pulls on: what arrives from above is multiplied with the gate's own slope. The sum hands -4
    # to both of its inputs, since that is what the product asks of it.
    a, b, c = fp.Unit(-2.0), fp.Unit(5.0), fp.Unit(-4.0)
    q = a + b
    f = q * c
    f.backward()
    print(f"two gates: {f.value}; pulls {a.grad}, {b.grad}, {c.grad}, and {q.grad} on the wire between them")
    assert (f.value, q.grad) == (-12.0, -4.0)
    assert (a.grad, b.grad, c.grad) == (-4.0, -4.0, 3.0)
    for leaf in (a, b, c):
        leaf.value += 0.01 * leaf.grad
    assert f.value < circuit(a, b, c).value
    assert round(circuit(a, b, c).value, 4) == -11.5924

    # The same as a function of functions, and checked against probing, to the second derivative.
    assert fp.grad(circuit, argnums=(0, 1, 2))(-2.0, 5.0, -4.0) == (-4.0, -4.0, 3.0)
    fp.check_grads(circuit, (-2.0, 5.0, -4.0), order=2)

    # Why the third strategy won: probing evaluates the circuit anew for every input, the backward sweep runs once. We
    # count the evaluations of a circuit with many inputs.
    count = 20 if quick else 500
    inputs = tuple(1.0 / (i + 2.0) for i in range(count))
    calls = 0

    def counted(*values):
        nonlocal calls
        calls += 1
        return many(*values)

    probed = fp.numerical_grad(counted, inputs)
    by_probing, calls = calls, 0
    swept = fp.grad(counted, argnums=tuple(range(count)))(*inputs)
    print(f"{count} inputs: {by_probing} evaluations by probing, {calls} by backpropagation")
    assert calls == 1
    assert by_probing >= 2 * count
    assert max(abs(one - other) for one, other in zip(probed, swept)) < 1e-7 * max(map(abs, swept))


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
