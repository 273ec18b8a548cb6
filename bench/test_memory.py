"""Bytes per gate, and a long loop beside many leaves: the answers are proved, the figures go into the report."""

import subprocess
import sys
from pathlib import Path

from long_run import Loop

HERE = Path(__file__).resolve().parent


def test_bytes_per_gate(benchmark):
    command = [sys.executable, HERE / "memory.py", "fastprop", "1000000"]
    done = benchmark.pedantic(subprocess.run, (command,), {"check": True, "capture_output": True}, rounds=1)
    benchmark.extra_info["bytes per gate"] = float(done.stdout.split()[1])


def test_step_beside_twenty_leaves(benchmark):
    loop = Loop(others=0)
    loop.prove()
    benchmark.group = "1,000 training steps of a loss of 20 gates"
    benchmark.pedantic(loop.run, (1_000,), rounds=7, warmup_rounds=1)
    loop.prove()


def test_step_beside_many_leaves(benchmark):
    loop = Loop(others=100_000)
    loop.prove()
    benchmark.group = "1,000 training steps of a loss of 20 gates"
    benchmark.pedantic(loop.run, (1_000,), rounds=7, warmup_rounds=1)
    loop.prove()
