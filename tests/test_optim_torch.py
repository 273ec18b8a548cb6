"""Update rules and plateaus beside PyTorch's, where that is installed: an extra of the benchmarks."""

from importlib.util import find_spec

import numpy as np
import pytest

from fastprop import optim
from updates import RULES, tolerance

if find_spec("torch"):

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_rules_are_pytorchs(dtype):
        import torch

        for rule, _, options in RULES:
            if rule is optim.Windowgrad or "rate_inside" in options:
                continue  # which PyTorch does not have
            random = np.random.default_rng(5)
            params = random.normal(size=50).astype(dtype)
            theirs = torch.tensor(params, requires_grad=True)
            mine, their = rule(params, **options), getattr(torch.optim, rule.__name__)([theirs], **options)
            for _ in range(10):
                grads = random.normal(size=50).astype(dtype)
                params, theirs.grad = mine.step(params, grads), torch.tensor(grads)
                their.step()
            np.testing.assert_allclose(params, theirs.detach().numpy(), err_msg=repr(mine), **tolerance(params.dtype))
            state = their.state_dict()["state"].get(0, {})
            for moment, value in mine.state_dict()["parameters"]["the parameter"].items():
                if moment != "steps" and moment in state and state[moment] is not None:
                    np.testing.assert_allclose(value, state[moment].numpy(), err_msg=moment, **tolerance(params.dtype))

    def test_plateaus_are_pytorchs():
        import torch

        random = np.random.default_rng(6)
        for options in (
            {},
            {"patience": 2, "cooldown": 3, "factor": 0.5, "min_lr": 1e-3},
            {"mode": "max", "threshold": 0.1},
        ):
            options = {"patience": 1, **options}
            leaf = torch.tensor([1.0], requires_grad=True)
            theirs, mine = torch.optim.SGD([leaf], lr=1.0), optim.SGD([1.0], lr=1.0)
            plateaus = (
                torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, eps=0.0, **options),
                optim.ReduceLROnPlateau(mine, **options),
            )
            for metric in random.random(200):
                for plateau in plateaus:
                    plateau.step(metric)
                assert theirs.param_groups[0]["lr"] == mine.lr
