"""One layer on every front: eagerly, of plain numbers, compiled, in lanes, and its gradients."""

import numpy as np
from numpy.testing import assert_allclose

import fastprop as fp
from fastprop.handles.nesting import flatten, map_leaves

TIGHT = {"rtol": 1e-10, "atol": 1e-12}


def values(outputs):
    """The plain arrays in what a layer gives."""
    return [np.asarray(x.value if hasattr(x, "value") else x) for x in flatten(outputs)[0]]


def agree(found, expected, **tolerance):
    """Whether two nests of results agree."""
    found, expected = values(found), values(expected)
    assert [x.shape for x in found] == [x.shape for x in expected]
    for a, b in zip(found, expected):
        assert_allclose(a, b, **(tolerance or TIGHT))


def weighted(outputs, total=fp.sum):
    """The sum of squares of all numbers of a nest, each with a weight of its own."""
    result = 0.0
    for k, part in enumerate(flatten(outputs)[0]):
        shape = np.shape(part) if isinstance(part, (float, np.ndarray)) else getattr(part, "shape", ())
        weights = (np.arange(float(np.prod(shape))).reshape(shape) + k + 1.0) / (np.prod(shape) + 1.0)
        result = result + total(part * weights) + 0.5 * total(part * part * weights)
    return result


def moved(tree, directions, h):
    """A nest of numbers, a way along directions."""
    leaves, nesting = flatten(tree)
    return nesting.unflatten([x + h * d for x, d in zip(leaves, directions)])


def check_layer(model, statement, *inputs, lanes=True):
    """Compare a layer with ``statement(params, *inputs)``, written with NumPy, and its gradients with differences."""
    params = model.params()
    expected = statement(params, *inputs)
    agree(model(*inputs), expected)
    agree(model(*[fp.Array(x) for x in inputs]), expected)
    agree(model.apply(params, *inputs), expected)
    agree(fp.compile(model.apply)(params, *inputs), expected)

    def loss(params, *inputs):
        return weighted(model.apply(params, *inputs))

    argnums = tuple(range(len(inputs) + 1))
    gradients = fp.grad(loss, argnums)(params, *inputs)
    agree(fp.compile(fp.grad(loss, argnums))(params, *inputs), gradients)
    if params:
        model.zero_grad()
        weighted(model(*inputs)).backward()
        agree([leaf.grad for leaf in model.parameters()], flatten(gradients[0])[0])
    random = np.random.default_rng(3)
    flat, nesting = flatten((params, *inputs))
    directions = [random.normal(size=np.shape(x)) if np.shape(x) else random.normal() for x in flat]
    h = 1e-6
    ends = [
        weighted(statement(*nesting.unflatten([x + s * h * d for x, d in zip(flat, directions)])), np.sum)
        for s in (1.0, -1.0)
    ]
    slope = sum(float(np.sum(g * d)) for g, d in zip(flatten(gradients)[0], directions))
    assert_allclose(slope, (ends[0] - ends[1]) / (2.0 * h), rtol=1e-5, atol=1e-6)
    if lanes:
        batch = [np.stack([x, 0.5 * x, -x]) for x in inputs]
        axes = (None, *[0] * len(inputs))
        found = fp.compile(fp.vmap(model.apply, axes))(params, *batch)
        agree(found, map_stack([statement(params, *row) for row in zip(*batch)]))
        step = fp.compile(fp.grad(fp.vmap(loss, axes, reduce="sum")))
        rows = [flatten(fp.grad(loss)(params, *row))[0] for row in zip(*batch)]
        agree(flatten(step(params, *batch))[0], [sum(parts) for parts in zip(*rows)])


def map_stack(trees):
    """Nests of arrays as one nest of stacks."""
    flat = [flatten(tree) for tree in trees]
    return flat[0][1].unflatten([np.stack(parts) for parts in zip(*[leaves for leaves, _ in flat])])


def shifted(model, seed=5):
    """A model with all its parameters moved at random, so that none is 0 or 1."""
    random = np.random.default_rng(seed)
    model.load_params(map_leaves(lambda x: x + 0.3 * random.normal(size=np.shape(x)), model.params()))
    return model
