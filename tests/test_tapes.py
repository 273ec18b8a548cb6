"""Tapes: which gates go on which, whose they are, what they forget, and what a sweep costs."""

import threading

import pytest


def test_gates_go_on_the_current_tape(engine):
    default = engine.current_tape()
    x = engine.Unit(3.0)
    with engine.Tape() as tape:
        assert engine.current_tape() is tape
        y = x * x
        assert len(tape) == 1
        with engine.Tape() as inner:
            z = x + 1.0
            assert engine.current_tape() is inner
            assert (len(tape), len(inner)) == (1, 1)
            w = y * x  # goes where y is
            assert (len(tape), len(inner)) == (2, 1)
        assert engine.current_tape() is tape
    assert engine.current_tape() is default
    w.backward()
    z.backward()
    assert x.grad == 27.0 + 1.0


def test_with_leaves_the_tape_when_an_error_does(engine):
    default = engine.current_tape()
    with pytest.raises(KeyError), engine.Tape():
        raise KeyError
    assert engine.current_tape() is default


def test_a_tape_counts_and_forgets(engine):
    x = engine.Unit(3.0)
    tape = engine.Tape()
    assert len(tape) == 0
    with tape:
        kept = [x * i for i in range(100)]
    assert len(tape) == 100
    assert tape.nbytes >= 100 * 8
    assert kept[7].value == 21.0
    tape.reset()
    assert len(tape) == 0
    with tape:
        y = x * 2.0
    y.backward()
    assert (len(tape), x.grad) == (1, 2.0)


def test_leaves_go_with_any_tape(engine):
    x = engine.Unit(3.0)
    results = []
    for factor in (2.0, 5.0):
        with engine.Tape():
            results.append(x * factor)
    for result in results:
        result.backward()
    assert x.grad == 7.0


def test_each_thread_has_its_own_default_tape(engine):
    tapes = [engine.current_tape()]
    results = []

    def work():
        tapes.append(engine.current_tape())
        x = engine.Unit(2.0)
        y = x
        for _ in range(500):
            y = y * 1.0 + x
        y.backward()
        results.append((y.value, x.grad))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(tape) for tape in tapes}) == 5
    assert results == [(1002.0, 501.0)] * 4


def test_a_tape_is_handed_from_thread_to_thread(engine):
    x = engine.Unit(3.0)
    tape = engine.Tape()
    results = []

    def work(previous):
        with tape:
            results.append(previous * x)

    previous = x
    for _ in range(3):
        thread = threading.Thread(target=work, args=(previous,))
        thread.start()
        thread.join()
        previous = results[-1]
    previous.backward()
    assert (previous.value, x.grad, len(tape)) == (81.0, 108.0, 3)


@pytest.mark.parametrize("use", ["backward", "reset"])
def test_a_tape_is_never_used_by_two_threads_at_once(engine, use):
    refusals = []

    class Meanwhile(engine.Gate):
        def forward(self, x):
            return x

        def backward(self, pull, x):
            thread = threading.Thread(target=intrude)
            thread.start()
            thread.join()
            return pull

    def intrude():
        try:
            tape.reset() if use == "reset" else y.backward()
        except RuntimeError as error:
            refusals.append(str(error))

    x = engine.Unit(3.0)
    with engine.Tape() as tape:
        y = x * 2.0
        z = Meanwhile()(y) * 5.0
    z.backward()
    assert len(refusals) == 1
    assert "tape" in refusals[0]
    assert (x.grad, y.grad, y.value) == (10.0, 5.0, 6.0)
    y.backward()
    assert x.grad == 12.0


# Memory and cost


def test_a_training_loop_runs_in_bounded_memory(engine, many):
    steps = many // 10
    x = engine.Unit(0.0)
    longest = 0
    with engine.Tape() as tape:
        for _ in range(steps):
            x.grad = 0.0
            loss = (x - 3.0) ** 2
            loss.backward()
            x.value -= 0.1 * x.grad
            longest = max(longest, len(tape))
    assert x.value == pytest.approx(3.0, rel=1e-12)
    assert longest < max(steps, 40_000)


def test_results_that_are_kept_survive_reclaiming(engine, many):
    x = engine.Unit(2.0)
    with engine.Tape() as tape:
        kept = [x * float(i) for i in range(300)]
        chain = x
        for i in range(many):
            chain = x * 1.0 if i % 50 == 0 else chain + 1.0
    assert len(tape) < many // 2 + 40_000
    assert [unit.value for unit in kept] == [2.0 * i for i in range(300)]
    kept[299].backward()
    assert x.grad == 299.0
    assert all(unit.grad == 0.0 for unit in kept[:299])
    chain.backward()
    assert x.grad == 300.0


def test_what_a_kept_result_was_computed_from_survives_with_it(engine, many):
    x = engine.Unit(1.0)
    y = x
    for i in range(many):
        temporary = x * 2.0
        if i % (many // 100) == 0:
            y = y * 1.0 + temporary
    y.backward()
    assert (y.value, x.grad) == (201.0, 201.0)


def test_a_sweep_calls_only_gates_below_its_output(engine):
    called = []

    class Noted(engine.Gate):
        def forward(self, x):
            return 2.0 * x

        def backward(self, pull, x):
            called.append(x)
            return 2.0 * pull

    x = engine.Unit(3.0)
    others = [Noted()(engine.Unit(float(i))) for i in range(10)]
    y = Noted()(x) * 1.0
    after = Noted()(x)
    y.backward()
    assert called == [3.0]
    assert x.grad == 2.0
    assert [other.grad for other in [*others, after]] == [0.0] * 11
