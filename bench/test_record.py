"""Recording and one sweep, for pytest-benchmark: `pytest bench --numprocesses=0 -p no:randomly`.

With --benchmark-disable every circuit runs once and its answer is asserted, without a clock.
"""

import pytest

from demo import Demo, plain_losses
from peers import OWN, PEERS, installed
from workloads import workloads

WORKLOADS = ["R1", "R2", "R3"]
CONTESTANTS = [*OWN, *(name for name in PEERS if installed(name))]


@pytest.mark.parametrize("place", range(len(WORKLOADS)), ids=WORKLOADS)
@pytest.mark.parametrize("name", CONTESTANTS)
def test_record_and_sweep(benchmark, name, place):
    contestant = {**OWN, **PEERS}[name]()
    workload = workloads(contestant.share)[place]
    contestant.prove(workload)
    benchmark.group = workload.title
    benchmark.extra_info["gates"] = workload.gates
    benchmark.pedantic(contestant.answer, args=(workload,), rounds=7, warmup_rounds=1)


@pytest.mark.parametrize("name", ["fastprop", "reference", *(["micrograd"] if installed("micrograd") else [])])
def test_demo_step(benchmark, name):
    if name == "micrograd":
        from micrograd.engine import Value

        demo = Demo(Value, lambda x: x.relu(), "data")
    else:
        ops = OWN[name]().ops
        demo = Demo(ops.Unit, ops.relu)
    for truth in plain_losses(3):
        assert demo.step()[0] == pytest.approx(truth, rel=1e-9)
    benchmark.group = "micrograd's demo, a training step"
    benchmark.pedantic(demo.step, rounds=7, warmup_rounds=1)
