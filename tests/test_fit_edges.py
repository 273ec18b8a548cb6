"""What a fit refuses, and how it ends where something goes wrong: with whole steps, and nothing half done."""

import itertools
import math
import os
import signal
import threading

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import fastprop as fp
from fastprop import nn
from fastprop.training import Callback
from test_fit import LABELS, X, Y, classifier, fitted, line, numbers


def untouched(message, model=None, kind=ValueError, **options):
    """A fit that is refused, and has changed nothing."""
    model = line() if model is None else model
    optimizer = options.pop("optimizer", None) or fp.optim.Adam(model)
    before = numbers(model)
    data, loss = options.pop("data", (X, Y)), options.pop("loss", nn.squared_error)
    with pytest.raises(kind, match=message):
        fp.fit(model, loss, data, optimizer, **options)
    assert_array_equal(numbers(model), before)
    assert getattr(optimizer, "steps", 0) == 0
    assert model.training


def changed(array, row, value):
    copy = np.array(array, float)
    copy[row] = value
    return copy


# What is refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "message, options",
    [
        ("there are no examples", {"data": (X[:0], Y[:0])}),
        ("gave no batches; expected at least one", {"data": []}),
        ("batch_size is 0", {"batch_size": 0}),
        ("batch_size is -3", {"batch_size": -3}),
        ("epochs is -1", {"epochs": -1}),
        ("accumulate is 0", {"accumulate": 0}),
        ("patience is -1", {"patience": -1}),
        ("tolerance is -1", {"tolerance": -1.0}),
        ("min_delta is -1", {"min_delta": -1.0}),
        ("min_delta is nan", {"min_delta": math.nan}),
        ("tolerance is nan", {"tolerance": math.nan}),
        ("lengths of the data differ: x 50, y 49", {"data": (X, Y[:49])}),
        ("x 50, y 50, sample_weight 3", {"sample_weight": np.ones(3)}),
        ("x has NaN or infinite numbers in row 7", {"data": (changed(X, 7, math.nan), Y)}),
        ("x has NaN or infinite numbers in row 49", {"data": (changed(X, 49, -math.inf), Y)}),
        ("y has NaN or infinite numbers in row 3", {"data": (X, changed(Y, 3, math.inf))}),
        ("sample_weight is nan in row 2", {"sample_weight": changed(np.ones(50), 2, math.nan)}),
        ("sample_weight is inf in row 2", {"sample_weight": changed(np.ones(50), 2, math.inf)}),
        ("sample_weight is -1.0 in row 49", {"sample_weight": changed(np.ones(50), 49, -1.0)}),
        ("all weights of examples are 0", {"sample_weight": np.zeros(50)}),
        ("expected one number per example", {"sample_weight": np.ones((50, 1))}),
        ("given twice", {"data": (X, Y, np.ones(50)), "sample_weight": np.ones(50)}),
        ("class_weight needs targets that are labels", {"class_weight": {0: 1.0}}),
        ("sample_weight goes with arrays", {"data": [(X, Y)], "sample_weight": np.ones(50)}),
        ("validation=0.001 of 50 examples are 0, with 50 left", {"validation": 0.001}),
        ("validation=0 of 50 examples are 0", {"validation": 0.0}),
        ("validation=0.999 of 50 examples are 50, with 0 left", {"validation": 0.999}),
        ("validation=-0.2 of 50", {"validation": -0.2}),
        ("stratify needs targets that are labels", {"stratify": True, "validation": 0.2}),
        ("stratify needs validation to be a part", {"stratify": True, "validation": (X, Y)}),
        ("there are no examples", {"validation": (X[:0], Y[:0])}),
        ("validation is a part of the data", {"data": [(X, Y)], "validation": 0.5}),
        ("x is one number", {"data": (1.0, 2.0)}),
    ],
)
def test_what_can_not_be_used_is_a_value_error(message, options):
    untouched(message, **options)


@pytest.mark.parametrize(
    "message, options",
    [
        ("optimizer is an? LBFGS.*; expected an Optimizer", {"optimizer": "lbfgs"}),
        ("x is an array of dtype", {"data": (np.array(["a", "b"]), np.zeros(2))}),
        ("y is an array of dtype complex128", {"data": (X, Y + 1j)}),
        ("data is int; expected", {"data": 3}),
        ("batch 0: got int; expected", {"data": [3]}),
        ("epochs is 1.5", {"epochs": 1.5}),
        (r"the loss of one example is an array of shape \(1,\); expected one number", {"loss": lambda z, y: z - y}),
        ("the loss of one example is None; expected one number", {"loss": lambda z, y: None}),
        ("the loss of one example is an array", {"loss": lambda z, y: (z - y, 1.0)}),
        ("params go with a model that is a function", {"params": {}}),
    ],
)
def test_what_is_of_another_kind_is_a_type_error(message, options):
    if options.get("optimizer"):
        model = line()
        untouched(message, model, TypeError, optimizer=fp.optim.LBFGS(model.params()))
    else:
        untouched(message, kind=TypeError, **options)


def test_a_class_of_one_row_can_not_be_stratified():
    labels = np.zeros(50, int)
    labels[7] = 2
    untouched(
        "validation=0.2 of 1 examples of class 2 are 1, with 0 left", classifier(),
        data=(X, labels), loss=nn.cross_entropy, validation=0.2, stratify=True,
    )  # fmt: skip


def test_models_and_optimizers_must_fit():
    with pytest.raises(TypeError, match=r"a function of \(params, x\) needs params"):
        fp.fit(lambda params, x: x, nn.squared_error, (X, Y), fp.optim.SGD({"w": 1.0}))
    with pytest.raises(TypeError, match="optimizer is of Units and Arrays"):
        fp.fit(lambda params, x: x, nn.squared_error, (X, Y), fp.optim.SGD([fp.Unit(1.0)]), params={"w": 1.0})
    with pytest.raises(TypeError, match="model is int"):
        fp.fit(3, nn.squared_error, (X, Y), fp.optim.SGD([fp.Unit(1.0)]))
    with pytest.raises(ValueError, match="the optimizer moves weight, bias, which the model does not have"):
        fp.fit(line(), nn.squared_error, (X, Y), fp.optim.SGD(line()))
    with pytest.raises(ValueError, match="keys"):
        fp.fit(line(), nn.squared_error, (X, Y), fp.optim.SGD(classifier().params()))


def test_no_epochs_are_an_empty_history():
    model = line()
    history = fitted(model, epochs=0)
    assert history.epochs == [] and history.step_losses == [] and history.best is None and history.stopped == "epochs"
    assert_array_equal(numbers(model), numbers(line()))


def test_batch_norm_of_one_example_is_seen_before_the_first_step():
    model = nn.Sequential(nn.BatchNorm(3), line())
    untouched("learns from one example", model, batch_size=7)  # 50 = 7 · 7 + 1
    untouched("learns from one example", model, batch_size=1)
    assert_array_equal(model[0].running_mean, np.zeros(3))
    fitted(model, batch_size=8)
    places = nn.Sequential(nn.BatchNorm(3), nn.Flatten())
    history = fp.fit(  # of one example, but of two places
        places, lambda z, y: fp.sum(z * z), (np.random.default_rng(0).normal(size=(3, 3, 2)), np.zeros(3)),
        fp.optim.SGD(places), batch_size=2,
    )  # fmt: skip
    assert len(history.step_losses) == 2


def test_prediction_and_target_of_other_shapes():
    untouched("shape", data=(X, Y[:, 0]))


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_out_of_range_is_named_with_its_row(label):
    labels = LABELS.copy()
    labels[37] = label
    model = classifier()
    optimizer = fp.optim.Adam(model)
    with pytest.raises(IndexError, match="in row 37 of the data, in lane"):
        fp.fit(model, nn.cross_entropy, (X, labels), optimizer, batch_size=10, shuffle=False)
    assert optimizer.steps == 3
    same = classifier()
    fp.fit(same, nn.cross_entropy, (X[:30], LABELS[:30]), fp.optim.Adam(same), batch_size=10, shuffle=False)
    assert_array_equal(numbers(model), numbers(same))
    with pytest.raises(IndexError, match=r"in lane 37$"):
        fp.fit(model, nn.cross_entropy, [(X, labels)], optimizer)


# Batches from elsewhere -----------------------------------------------------------------------------------------------


def slices(count=5):
    return [(X[k : k + 10], Y[k : k + 10]) for k in range(0, 10 * count, 10)]


@pytest.mark.parametrize("give", [lambda: slices(), lambda: lambda: iter(slices()), lambda: lambda: slices()])
def test_iterables_and_functions_give_batches(give):
    model, plain = line(), line()
    history = fitted(model, data=give(), epochs=3)
    same = fitted(plain, epochs=3, batch_size=10, shuffle=False)
    assert history.step_losses == same.step_losses
    assert_array_equal(numbers(model), numbers(plain))


def test_a_generator_is_spent_after_one_epoch():
    model, once = line(), line()
    optimizer = fp.optim.Adam(model)
    with pytest.raises(
        ValueError, match="no batches in epoch 2: an iterator is spent after one epoch; give a list, or"
    ):
        fp.fit(model, nn.squared_error, iter(slices()), optimizer, epochs=3)
    fp.fit(once, nn.squared_error, slices(), fp.optim.Adam(once), epochs=1)
    assert_array_equal(numbers(model), numbers(once))
    assert optimizer.steps == 5


@pytest.mark.parametrize(
    "message, bad",
    [
        ("batch 2: x has NaN or infinite numbers in row 4", lambda x, y: (changed(x, 4, math.nan), y)),
        ("batch 2: y has NaN or infinite numbers in row 0", lambda x, y: (x, changed(y, 0, math.inf))),
        ("batch 2: weights is -1.0 in row 1", lambda x, y: (x, y, changed(np.ones(10), 1, -1.0))),
        ("batch 2: the lengths differ: batch 2: x 10, batch 2: y 9", lambda x, y: (x, y[:9])),
    ],
)
def test_a_bad_batch_is_refused_and_its_step_not_made(message, bad):
    data = slices()
    data[2] = bad(*data[2])
    model, before = line(), line()
    optimizer = fp.optim.Adam(model)
    with pytest.raises(ValueError, match=message):
        fp.fit(model, nn.squared_error, data, optimizer)
    fp.fit(before, nn.squared_error, slices(2), fp.optim.Adam(before))
    assert_array_equal(numbers(model), numbers(before))
    assert optimizer.steps == 2


# Arrays of all kinds --------------------------------------------------------------------------------------------------

WHOLE = np.round(X * 20.0) + 100.0


def readonly(x):
    copy = x.copy()
    copy.flags.writeable = False
    return copy


def on_disk(x, folder):
    path = folder / "x.npy"
    np.save(path, x)
    return np.load(path, mmap_mode="r")


@pytest.mark.parametrize(
    "made",
    [
        readonly,
        lambda x: np.repeat(x, 2, axis=0)[::2],
        lambda x: np.asfortranarray(x),
        lambda x: x[::-1][::-1],
        lambda x: x.astype(">f8"),
        lambda x: x.astype(np.float32),
        lambda x: x.astype(np.uint8),
        lambda x: x.astype(">i4"),
        lambda x: x.astype(np.longdouble),
        lambda x: x.tolist(),
        "on disk",
    ],
)
def test_any_array_gives_the_same_steps(made, tmp_path):
    given = on_disk(WHOLE, tmp_path) if made == "on disk" else made(WHOLE)
    kept = np.array(given)
    model, plain = line(), line()
    history = fitted(model, data=(given, Y), rate=1e-5, validation=0.2)
    same = fitted(plain, data=(WHOLE, Y), rate=1e-5, validation=0.2)
    np.testing.assert_allclose(history.step_losses, same.step_losses, rtol=1e-12)
    np.testing.assert_allclose(numbers(model), numbers(plain), rtol=1e-12)
    assert_array_equal(np.array(given), kept)


def test_float64_is_cast_for_float32():
    models = [line(dtype=np.float32), line(dtype=np.float32)]
    fitted(models[0], data=(X, Y))
    fitted(models[1], data=(X.astype(np.float32), Y.astype(np.float32)))
    assert_array_equal(numbers(models[0]), numbers(models[1]))
    untouched("x has NaN or infinite numbers in row 5", line(dtype=np.float32), data=(changed(X, 5, 1e300), Y))


@pytest.mark.memory
def test_no_more_than_a_batch_is_copied(tmp_path, memory_peak):
    rows = 200_000
    x = np.memmap(tmp_path / "x", np.uint8, "w+", shape=(rows, 100))
    x[::7] = 3
    y = np.zeros((rows, 1))
    model = nn.Linear(100, 1, rng=0)
    fitted(model, data=(x[:200], y[:200]), rate=1e-6)  # recorded, imported

    def fit():
        fitted(model, data=(x, y), rate=1e-6, batch_size=200)

    assert memory_peak(fit) < 0.3 * x.nbytes


@pytest.fixture
def memory_peak():
    import tracemalloc

    def peak(f):
        tracemalloc.start()
        try:
            f()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    return peak


# Losses and gradients that are no numbers -----------------------------------------------------------------------------


def test_a_loss_that_becomes_infinite_ends_it_before_the_step():
    model = line()
    optimizer = fp.optim.SGD(model, lr=1e150)
    with pytest.warns(RuntimeWarning, match="fit: the loss became inf in step") as caught:
        history = fp.fit(model, nn.squared_error, (X, Y), optimizer, epochs=9, rng=0, batch_size=10)
    assert caught[0].filename == __file__
    assert history.stopped == "diverged"
    made = len(history.step_losses)
    assert f"in step {made + 1}, in epoch 1, at rate 1e+150" in history.reason
    assert "(first at " in history.reason
    assert optimizer.steps == made == 2
    assert np.all(np.isfinite(numbers(model)))
    other = line()
    random = np.random.default_rng(0)
    random.integers(1 << 24)
    order = random.permutation(50)
    fp.fit(other, nn.squared_error, (X[order[: 10 * made]], Y[order[: 10 * made]]), fp.optim.SGD(other, lr=1e150),
           batch_size=10, shuffle=False)  # fmt: skip
    assert_array_equal(numbers(model), numbers(other))


def test_the_first_bad_gate_is_named():
    def loss(z, y):
        return fp.sum(fp.log(z - 1000.0 * y))

    model = line()
    with pytest.warns(
        RuntimeWarning, match=r"the loss became nan in step 1, .* \(first at log in .*test_fit_edges.py:"
    ):
        history = fp.fit(
            model, loss, (X, np.where(np.arange(50) == 13, 1.0, -1.0)[:, None]), fp.optim.SGD(model), batch_size=50
        )
    assert history.reason.endswith("row 13); the parameters are those before it")
    assert_array_equal(numbers(model), numbers(line()))


def test_the_first_bad_gate_is_named_in_batches_that_are_taken_together():
    def loss(z, y):
        return fp.sum(fp.sqrt(y)) + fp.sum(z * z), 1.0

    data = [(X[:0], Y[:0]), (X[:10], abs(Y[:10])), (X[10:20], changed(abs(Y[10:20]), 4, -2.0))]
    model = line()
    with pytest.warns(RuntimeWarning, match=r"\(first at sqrt in .*test_fit_edges.py:\d+, example 4 of the batch\)"):
        history = fp.fit(model, loss, data, fp.optim.SGD(model), accumulate=3)
    assert history.step_losses == []


def test_a_gradient_that_is_infinite_ends_it_before_the_step():
    model = line()
    optimizer = fp.optim.SGD(model)
    with pytest.warns(RuntimeWarning, match=r"the gradient of bias at .* is inf in step 1, in epoch 1"):
        history = fp.fit(model, lambda z, y: fp.sqrt(z[0] - y), (0.0 * X, np.full(50, model.bias.value[0])), optimizer)
    assert (history.stopped, optimizer.steps, history.step_losses) == ("diverged", 0, [])
    assert_array_equal(numbers(model), numbers(line()))


@pytest.mark.parametrize("rate", [math.nan, math.inf, -1.0])
def test_a_rate_that_is_none_is_a_value_error(rate):
    model = line()
    optimizer = fp.optim.SGD(model, lr=0.1, schedule=lambda step: rate if step == 2 else 1.0)
    with pytest.raises(ValueError, match="rate"):
        fp.fit(model, nn.squared_error, (X, Y), optimizer, batch_size=10)
    assert optimizer.steps == 2
    assert np.any(numbers(model) != numbers(line()))


def test_the_best_is_restored_where_it_diverges():
    model, seen = line(), []
    optimizer = fp.optim.SGD(model, lr=0.1)

    def worse(history):
        seen.append(numbers(model))
        optimizer.lr = 1e160

    with pytest.warns(RuntimeWarning):
        history = fp.fit(
            model, nn.squared_error, (X, Y), optimizer, epochs=9, callbacks=worse, restore_best=True, batch_size=10
        )
    assert history.best.number == 1 and history.stopped == "diverged"
    assert_array_equal(numbers(model), seen[0])


# Callbacks ------------------------------------------------------------------------------------------------------------


def test_what_a_callback_raises_comes_after_whole_steps():
    model, twice = nn.Sequential(nn.Dropout(0.0), line()).eval(), line()
    optimizer = fp.optim.Adam(model)

    def failing(history):
        if len(history.epochs) == 2:
            raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        fp.fit(model, nn.squared_error, (X, Y), optimizer, epochs=9, callbacks=failing, rng=0, progress=True)
    fp.fit(twice, nn.squared_error, (X, Y), fp.optim.Adam(twice), epochs=2, rng=0)
    assert_array_equal(numbers(model), numbers(twice))
    assert optimizer.steps == 4
    assert not model.training


def test_callbacks_see_what_was_learnt_so_far():
    model, seen = line(), []
    optimizer = fp.optim.Adam(model)
    fp.fit(
        model, nn.squared_error, (X, Y), optimizer, epochs=3, rng=0,
        callbacks=lambda h: seen.append((numbers(model), optimizer.steps, h.params["bias"].copy(), h.epochs[-1].loss)),
    )  # fmt: skip
    assert [steps for _, steps, _, _ in seen] == [2, 4, 6]
    for k, (values, _, bias, _) in enumerate(seen):
        other = line()
        fp.fit(other, nn.squared_error, (X, Y), fp.optim.Adam(other), epochs=k + 1, rng=0)
        assert_array_equal(values, numbers(other))
        assert bias[0] == values[-1]


def test_a_callback_may_change_modes_layers_and_freezing():
    ones = (np.ones((8, 3)), np.zeros((8, 1)))
    model = nn.Sequential(nn.Dropout(0.5), line())
    optimizer = fp.optim.SGD(model, lr=0.0)

    def change(history):
        if len(history.epochs) == 2:
            model[0].eval()
        elif len(history.epochs) == 4:
            model[0].train()
            model[0].p = 1.0
        elif len(history.epochs) == 6:
            optimizer.frozen = ["1.weight"]
            optimizer.lr = 0.1

    history = fp.fit(model, nn.squared_error, ones, optimizer, epochs=8, batch_size=8, callbacks=change, rng=0)
    plain, bias = line()(np.ones(3)).value[0], line().bias.value[0]
    losses = history.losses
    assert losses[0] != losses[1]
    np.testing.assert_allclose(losses[2:4], 0.5 * plain**2, rtol=1e-12)
    np.testing.assert_allclose(losses[4:7], 0.5 * bias**2, rtol=1e-12)
    assert losses[7] < losses[6]
    assert_array_equal(model[1].weight.value, line().weight.value)


@pytest.mark.parametrize("handles", [True, False])
def test_a_callback_may_assign_parameters_and_statistics(handles):
    model = nn.Sequential(nn.BatchNorm(3), line())
    optimizer = fp.optim.SGD(model if handles else model.params(), lr=0.0)

    def assign(history):
        model[1].weight.value = np.full((1, 3), float(len(history.epochs)))
        model[0].running_mean = np.full(3, 7.0)

    history = fp.fit(
        model, nn.squared_error, (X, Y), optimizer, epochs=3, batch_size=50, shuffle=False, callbacks=assign
    )
    normal = (X - X.mean(0)) / np.sqrt(X.var(0) + 1e-5)
    for k in (1, 2):
        error = normal @ np.full((3, 1), float(k)) + line().bias.value - Y
        assert history.losses[k] == pytest.approx(np.mean(0.5 * error**2), rel=1e-9)
    assert_array_equal(model[1].weight.value, np.full((1, 3), 3.0))
    assert_array_equal(model[0].running_mean, np.full(3, 7.0))


def test_a_callback_may_assign_what_is_not_learnt():
    model = classifier()
    optimizer = fp.optim.SGD(model[0], lr=0.0)

    def assign(history):
        model[2].weight.value = np.zeros((3, 5))
        model[2].bias.value = np.zeros(3)

    history = fp.fit(model, nn.cross_entropy, (X, LABELS), optimizer, epochs=2, callbacks=assign)
    assert history.losses[0] != pytest.approx(math.log(3.0), rel=1e-3)
    assert history.losses[1] == pytest.approx(math.log(3.0), rel=1e-12)


def test_a_fit_in_another_thread_and_within_a_fit():
    models, found = [line(), line(), line()], []
    thread = threading.Thread(target=lambda: found.append(fitted(models[0])))
    thread.start()
    thread.join()
    fitted(models[1], callbacks=lambda history: found.append(fitted(models[2])))
    assert [history.stopped for history in found] == ["epochs", "epochs"]
    assert_array_equal(numbers(models[0]), numbers(models[1]))
    assert_array_equal(numbers(models[0]), numbers(models[2]))


def test_a_callback_that_replaces_parameters_is_a_value_error():
    model = classifier()
    optimizer = fp.optim.Adam(model)

    def replace(history):
        model[2].weight = fp.Array(np.ones((3, 5)))

    with pytest.raises(ValueError, match=r"2\.weight was replaced; make a new optimizer"):
        fp.fit(model, nn.cross_entropy, (X, LABELS), optimizer, epochs=3, callbacks=replace)


# Ctrl-C ---------------------------------------------------------------------------------------------------------------


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


def batches_with_an_interrupt(after):
    for number, batch in enumerate(itertools.cycle(slices())):
        if number == after:
            interrupt()
        yield batch


@pytest.mark.parametrize("after", [0, 3, 7])
def test_an_interrupt_ends_it_after_a_whole_step(after):
    model, same = line(), line()
    optimizer = fp.optim.Adam(model)
    history = fp.fit(model, nn.squared_error, batches_with_an_interrupt(after), optimizer)
    assert history.interrupted and "Ctrl-C in epoch 1" in history.reason
    assert len(history.step_losses) == optimizer.steps == after + 1 and history.epochs == []
    fp.fit(same, nn.squared_error, (slices() * 2)[: after + 1], fp.optim.Adam(same))
    assert_array_equal(numbers(model), numbers(same))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("where", ["compiling", "validation", "callback", "raised in a callback"])
def test_an_interrupt_anywhere_ends_it_after_whole_steps(where):
    model, same = line(), line()
    optimizer = fp.optim.Adam(model)
    pending = [where]

    def once(place):
        if place in pending:
            pending.clear()
            interrupt()

    def loss(z, y):
        once("compiling")
        return nn.squared_error(z, y)

    def validation():
        once("validation")
        return slices(1)

    def callback(history):
        once("callback")
        if where.startswith("raised"):
            raise KeyboardInterrupt

    history = fp.fit(
        model, loss, slices(), optimizer, epochs=3, validation=validation, callbacks=callback, restore_best=False
    )
    steps = 1 if where == "compiling" else 5
    assert history.interrupted and len(history.step_losses) == optimizer.steps == steps
    assert len(history.epochs) == (1 if "callback" in where else 0)
    fp.fit(same, nn.squared_error, slices()[:steps], fp.optim.Adam(same))
    assert_array_equal(numbers(model), numbers(same))
    assert model.training


def test_a_second_interrupt_raises():
    model = line()
    optimizer = fp.optim.Adam(model)

    class Stubborn(Callback):
        def on_epoch_end(self, history):
            interrupt()
            interrupt()

    with pytest.raises(KeyboardInterrupt):
        fp.fit(model, nn.squared_error, (X, Y), optimizer, epochs=9, callbacks=Stubborn())
    assert optimizer.steps == 2
    assert np.any(numbers(model) != numbers(line()))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handler_of_ones_own_is_left_alone():
    seen = []
    signal.signal(signal.SIGINT, lambda *_: seen.append("mine"))
    try:
        history = fitted(line(), data=batches_of(interrupting=1))
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    assert seen == ["mine"] and history.stopped == "epochs" and len(history.step_losses) == 5


def batches_of(interrupting):
    for number, batch in enumerate(slices()):
        if number == interrupting:
            interrupt()
        yield batch
