"""Networks in scalars, in micrograd's manner: every weight is a Unit, every product and every sum a gate."""

from __future__ import annotations

from collections.abc import Sequence
from operator import mul
from typing import Any

from fastprop.engine.functions import relu
from fastprop.engine.tape import Unit
from fastprop.nn.init import Random, generator
from fastprop.nn.module import Module

__all__ = ["MLP", "Layer", "Neuron"]


class Neuron(Module):
    """One neuron, as micrograd has it: a weight for each input, a bias, and relu on top.

    Parameters
    ----------
    nin : int
        How many inputs.
    nonlin : bool
        Whether relu comes on top of the weighted sum.
    rng : None, int or numpy.random.Generator
        Where the first weights come from, uniform between -1 and 1.

    Examples
    --------
    >>> import fastprop as fp
    >>> neuron = fp.nn.Neuron(2, nonlin=False, rng=0)
    >>> output = neuron([1.0, -2.0])
    >>> output.backward()
    >>> [leaf.grad for leaf in neuron.parameters()]
    [1.0, -2.0, 1.0]
    """

    def __init__(self, nin: int, nonlin: bool = True, *, rng: Random = None):
        self.w: list[Any] = [Unit(w) for w in generator(rng).uniform(-1.0, 1.0, nin).tolist()]
        self.b: Any = Unit(0.0)
        self.nonlin = nonlin

    def __call__(self, x: Any) -> Any:
        """Weigh the inputs, add them up, activate."""
        if len(x) != len(self.w):
            raise ValueError(f"{len(x)} inputs; this neuron takes {len(self.w)}")
        total = sum(map(mul, self.w, x), self.b)
        return relu(total) if self.nonlin else total

    def __repr__(self) -> str:
        return f"{'ReLU' if self.nonlin else 'Linear'}Neuron({len(self.w)})"


class Layer(Module):
    """Neurons side by side; of one neuron its output comes out, of more a list.

    Parameters
    ----------
    nin, nout : int
        How many inputs, and how many neurons.
    nonlin : bool
        Whether relu comes on top of each.
    rng : None, int or numpy.random.Generator
        Where the first weights come from.

    Examples
    --------
    >>> import fastprop as fp
    >>> len(fp.nn.Layer(2, 3, rng=0)([1.0, -2.0]))
    3
    """

    def __init__(self, nin: int, nout: int, nonlin: bool = True, *, rng: Random = None):
        random = generator(rng)
        self.neurons = [Neuron(nin, nonlin, rng=random) for _ in range(nout)]

    def __call__(self, x: Any) -> Any:
        """Give the outputs of all neurons."""
        outputs = [neuron(x) for neuron in self.neurons]
        return outputs[0] if len(outputs) == 1 else outputs

    def __repr__(self) -> str:
        return f"Layer of [{', '.join(map(str, self.neurons))}]"


class MLP(Module):
    """Layers of neurons, as micrograd has them: relu on all but the last.

    Parameters
    ----------
    nin : int
        How many inputs.
    nouts : sequence of int
        How many neurons in each layer.
    rng : None, int or numpy.random.Generator
        Where the first weights come from.

    Examples
    --------
    >>> import fastprop as fp
    >>> model = fp.nn.MLP(2, [16, 16, 1], rng=0)
    >>> len(model.parameters())
    337
    >>> loss = (model([1.0, -2.0]) - 0.5) ** 2
    >>> loss.backward()
    >>> for leaf in model.parameters():
    ...     leaf.value -= 0.001 * leaf.grad
    >>> model.zero_grad()
    >>> ((model([1.0, -2.0]) - 0.5) ** 2).value < loss.value
    True
    """

    def __init__(self, nin: int, nouts: Sequence[int], *, rng: Random = None):
        random = generator(rng)
        sizes = [nin, *nouts]
        self.layers = [Layer(sizes[i], sizes[i + 1], nonlin=i != len(nouts) - 1, rng=random) for i in range(len(nouts))]

    def __call__(self, x: Any) -> Any:
        """Give the outputs of the last layer."""
        for layer in self.layers:
            x = layer(x if layer is self.layers[0] or isinstance(x, list) else [x])
        return x

    def __repr__(self) -> str:
        return f"MLP of [{', '.join(map(str, self.layers))}]"
