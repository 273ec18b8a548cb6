"""What users of PyTorch, Keras, JAX, micrograd and scikit-learn look for, and what it is called here.

One table for each room, for each class with attributes that others have, and for each set of options; whoever asks for
something else gets Python's usual error.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

__all__ = ["ATTRIBUTES", "Hinted", "elsewhere", "let_hint", "no_attribute", "with_hints"]

F = TypeVar("F", bound=Callable[..., Any])

ROOMS = ("nn", "optim", "training", "datasets")  # whose names are looked for

LOSS = "losses are functions of one example: fastprop.nn."
SAVED = "numpy.savez(path, **model.state_dict()), and model.load_state_dict(numpy.load(path))"
BATCHES = "fastprop.fit(model, loss, (x, y), optimizer, batch_size=32) makes batches and shuffles them"
LEAVES = "a parameter is fastprop.Array(values) in an attribute"
SIZES = "layers say how many inputs and outputs they have: Linear(in_features, out_features)"
OWN = "initialisers are given to a layer, Linear(2, 3, init='normal'); or assign layer.weight.value"
SCHEDULED = "given to an optimizer: SGD(model, schedule=Cosine(1000))"
DEVICE = "everything is computed by the processor: leave it out"
JOINED = "Histories of several fits are joined by +"

Rows = dict[str, str]


def _table(rows: Rows) -> Rows:
    """Return rows by each of their names, which are written in a row."""
    return {name: hint for names, hint in rows.items() for name in names.split()}


NAMES: dict[str, Rows] = {
    "fastprop": {
        "tensor Tensor Parameter asarray array": "an array of leaves is fastprop.Array",
        "Value Variable Scalar": "one number is fastprop.Unit, an array fastprop.Array",
        "no_grad inference_mode": "what leaves go into is recorded; model.apply(params, x) with plain numbers is not",
        "jit function": "it is fastprop.compile",
        "jacrev jacfwd": "it is fastprop.jacobian",
        "linearize": "it is fastprop.jvp",
        "fori_loop while_loop": "a loop is Python's, or fastprop.scan, which is recorded once",
        "checkpoint remat": "fastprop.scan keeps what steps carry, and runs each of them again: leave it out",
        "one_hot": "it is labels[:, None] == numpy.arange(classes); or take scores[label], with the label as it is",
        "pmap vectorize": "it is fastprop.vmap, whose lanes run on threads: see fastprop.set_num_threads",
        "numpy jnp np math": "functions stand in fastprop itself, such as fastprop.exp",
        "functional layers losses keras": "see fastprop.nn",
        "zeros ones full eye arange linspace rand randn": "NumPy makes arrays, fastprop.Array leaves of them; "
        "fastprop.at(numpy.zeros(3))[i].set(x) changes one",
        "seed manual_seed PRNGKey": "random numbers come from rng=0, or fastprop.random",
        "save load": SAVED,
        "device cuda": DEVICE,
        "GradientTape autograd": "result.backward() sweeps what was recorded; or take fastprop.value_and_grad(f)",
        "backward": "it is a method: result.backward()",
        "cat concat": "it is fastprop.concatenate",
        "abs fabs": "it is fastprop.absolute",
        "pow": "it is fastprop.power",
        "mod": "it is fastprop.remainder",
        "atan2": "it is fastprop.arctan2",
        "swish": "it is fastprop.silu",
        "lax": "fastprop.scan is a loop; branches are Python's if, or fastprop.where",
        "cond": "branches are Python's if, or fastprop.where",
        "tree tree_util map_structure": "nests go through all transforms as they are; there is fastprop.tree_map",
        "custom_vjp Function": "a gate of one's own is a subclass of fastprop.Gate",
        "DataLoader": BATCHES,
    },
    "fastprop.random": {
        "PRNGKey": "it is key",
        "rand": "it is uniform",
        "randn": "it is normal",
        "randint": "it is numpy.argmax(uniform(key, n)), from 0 to n - 1",
        "gumbel": "it is -log(-log(uniform(key)))",
        "exponential": "it is -log1p(-uniform(key))",
        "categorical": "it is numpy.argmax(scores - log(-log(uniform(key, scores.shape))))",
        "choice permutation shuffle": "it is numpy.argsort(uniform(key, n)), as an index, or a part of it",
    },
    "fastprop.nn": {
        "functional": "losses stand in fastprop.nn itself, fastprop.relu and its like in fastprop",
        "mse_loss MSELoss mse MeanSquaredError mean_squared_error": f"{LOSS}squared_error, ½ Σ (output - target)²",
        "l1_loss L1Loss mae MeanAbsoluteError mean_absolute_error": f"{LOSS}absolute_error",
        "smooth_l1_loss SmoothL1Loss huber_loss HuberLoss Huber": f"{LOSS}huber",
        "CrossEntropyLoss CategoricalCrossentropy SparseCategoricalCrossentropy categorical_crossentropy "
        "sparse_categorical_crossentropy softmax_cross_entropy "
        "softmax_cross_entropy_with_logits softmax_cross_entropy_with_integer_labels "
        "sparse_softmax_cross_entropy_with_logits": f"{LOSS}cross_entropy, of scores and a label, or shares",
        "NLLLoss": f"{LOSS}nll_loss",
        "BCEWithLogitsLoss sigmoid_binary_cross_entropy "
        "sigmoid_cross_entropy_with_logits": f"{LOSS}binary_cross_entropy_with_logits",
        "BCELoss BinaryCrossentropy binary_crossentropy": f"{LOSS}binary_cross_entropy, or …_with_logits of scores",
        "HingeEmbeddingLoss hinge_loss SoftMarginLoss": f"{LOSS}hinge, of labels -1 and 1",
        "MultiMarginLoss multi_margin_loss": f"{LOSS}multiclass_hinge, which is summed over the classes",
        "CTCLoss KLDivLoss kl_div TripletMarginLoss": "write it with fastprop's gates: a loss is any function",
        "Dense LazyLinear Affine": "it is Linear(in_features, out_features)",
        "Conv2D Conv": "it is Conv2d",
        "Conv1D": "it is Conv1d",
        "MaxPooling2D MaxPool2D": "it is MaxPool2d",
        "AveragePooling2D AvgPool2D": "it is AvgPool2d",
        "BatchNorm1d BatchNorm2d BatchNormalization batch_norm": "it is BatchNorm, across the lanes of a vmap",
        "LayerNormalization layer_norm": "it is LayerNorm",
        "GroupNorm InstanceNorm2d": "LayerNorm, RMSNorm and BatchNorm are there",
        "Dropout1d Dropout2d": "it is Dropout",
        "RNNCell LSTMCell GRUCell": "RNN, LSTM and GRU take sequences; a loop of one's own is fastprop.scan",
        "Transformer TransformerEncoder "
        "TransformerEncoderLayer": "write it with MultiheadAttention, LayerNorm and Linear",
        "EmbeddingBag": "take the mean of what Embedding gives",
        "ModuleList ParameterList": "a list in an attribute will do: what is in it is found",
        "ModuleDict ParameterDict": "a dict in an attribute will do: what is in it is found",
        "Parameter Variable param parameter": LEAVES,
        "Model": "a network is a subclass of Module with a __call__, or a Sequential",
        "Input InputLayer": SIZES,
        "Swish swish": "it is SiLU, and fastprop.silu",
        "Activation": "activations are layers, such as ReLU(), or functions, such as fastprop.relu",
        "one_hot": "cross_entropy takes labels as they are; shares are numpy.eye(classes)[labels]",
        "utils": "clipping is in fastprop.optim: clip_grad_norm_, clip_norm",
        "modules": "layers stand in fastprop.nn itself",
    },
    "fastprop.nn.init": {
        "xavier_uniform_ xavier_uniform xavier glorot": "it is glorot_uniform: Linear(2, 3, init='glorot_uniform')",
        "xavier_normal_ xavier_normal": "it is glorot_normal: Linear(2, 3, init='glorot_normal')",
        "kaiming_uniform_ kaiming_uniform kaiming he": "it is he_uniform: Linear(2, 3, init='he_uniform')",
        "kaiming_normal_ kaiming_normal": "it is he_normal: Linear(2, 3, init='he_normal')",
        "normal_ uniform_ zeros_ ones_ constant_ orthogonal_ trunc_normal_": OWN,
    },
    "fastprop.optim": {
        "lr_scheduler": f"schedules stand in fastprop.optim itself, {SCHEDULED}",
        "StepLR step_lr": f"it is Step, {SCHEDULED}",
        "ExponentialLR exponential_decay ExponentialDecay": f"it is Exponential, {SCHEDULED}",
        "CosineAnnealingLR cosine_decay_schedule cosine_decay CosineDecay": f"it is Cosine, {SCHEDULED}",
        "LinearLR OneCycleLR warmup_cosine_decay_schedule": f"it is WarmUp(100) * Cosine(1000), {SCHEDULED}",
        "LambdaLR": f"a schedule is any function of the number of steps, {SCHEDULED}",
        "apply_updates apply_gradients": "optimizer.step(params, gradients) gives new ones",
        "Momentum momentum Nesterov nesterov": "it is SGD(model, momentum=0.9, nesterov=True)",
        "sgd": "it is SGD(model, lr=0.01)",
        "adam adamw Nadam RAdam Lion": "Adam(model, lr=0.001) and AdamW are there",
        "rmsprop RMSProp": "it is RMSprop(model, lr=0.01)",
        "adagrad AdaGrad": "it is Adagrad(model, lr=0.01)",
        "minimize": "it is LBFGS(model)",
        "chain clip_by_global_norm": "clip_norm and clip_value take gradients before a step",
    },
    "fastprop.training": {
        "DataLoader": BATCHES,
        "Dataset TensorDataset": "data are a tuple of arrays, (x, y), or an iterable of batches",
        "train Trainer train_step": "it is fit(model, loss, (x, y), optimizer, epochs=10)",
        "EarlyStopping": "it is fit(…, validation=0.2, patience=5)",
        "ModelCheckpoint": "it is fit(…, restore_best=True), or a callback that saves model.state_dict()",
        "LearningRateScheduler LRScheduler": f"schedules stand in fastprop.optim, {SCHEDULED}",
        "ReduceLROnPlateau": "it is fastprop.optim.ReduceLROnPlateau, among the callbacks of fit",
        "train_test_split random_split": "fit(…, validation=0.2) holds some out, split makes three parts",
        "lr_find LRFinder": "it is find_rate",
        "accuracy metrics": "fit(…, metrics={'accuracy': lambda scores, label: numpy.argmax(scores) == label})",
    },
    "fastprop.datasets": {
        "mnist MNIST load_mnist": "load_digits has 1,797 handwritten digits, 8 by 8",
        "load_iris load_wine make_moons make_blobs fetch_openml": "scikit-learn has it, in sklearn.datasets",
        "load_shakespeare load_text": "texts are load_genesis, load_letters and load_names",
    },
    "fastprop.draw": {
        "plot history learning_curve plot_history": "it is curves(history)",
        "draw_dot graph make_dot plot_model": "it is circuit(result), or sweeps(result)",
        "confusion_matrix ConfusionMatrixDisplay": "it is confusion",
    },
}
"""What is written instead of names that a room does not have."""

ATTRIBUTES: dict[str, Rows] = {
    "Module": {
        "fit": "fastprop.fit(model, loss, (x, y), optimizer, epochs=10)",
        "compile": "fastprop.compile(fastprop.value_and_grad(f)) is a step; fastprop.fit compiles its own",
        "predict": "fastprop.training.predict(model, x)",
        "evaluate": "fastprop.training.evaluate(model, loss, (x, y))",
        "forward": "it is __call__ here: write that, and call the model itself",
        "backward": "what a call gives has it: model(x).backward()",
        "summary": "print(model) shows its layers",
        "weights trainable_variables trainable_weights get_weights": "it is parameters(), or params()",
        "set_weights": "it is load_params(params), or load_state_dict(state)",
        "children modules layers": "named_modules() gives all Modules in it, by name",
        "save save_weights": SAVED,
        "register_buffer buffer": "an array in an attribute, which the class names in its buffer_names",
        "register_parameter add_weight": LEAVES,
        "add_module append add": "a Module in an attribute, or in a list in one, is found",
        "to cuda cpu": DEVICE,
        "half float double": "layers are made in a dtype: Linear(2, 3, dtype=numpy.float32)",
        "requires_grad_ requires_grad trainable": "freeze by name: optimizer.frozen = {'0.weight'}",
        "init": "parameters are made with the layers; params() gives their numbers",
    },
    "Unit": {
        "detach": "fastprop.stop_gradient(x), or .value, which is a plain number or array",
        "numpy cpu": "it is .value",
        "requires_grad requires_grad_": "leaves that are handed to gates get gradients; plain numbers get none",
        "to cuda": DEVICE,
        "view": "it is reshape",
        "unsqueeze": "it is reshape, or fastprop.expand_dims",
        "permute": "it is transpose",
        "numel": "it is size",
        "clone": "results are never written in place: use it as it is",
        "_prev _op _backward grad_fn": "fastprop.draw.circuit(x) shows what it was computed from",
    },
    "Optimizer": {
        "minimize": "loss.backward(), then step(); of numbers params = step(params, gradients)",
        "apply_gradients apply_updates": "of numbers params = step(params, gradients)",
        "param_groups add_param_group": "make one optimizer for each group; the rate is lr",
        "learning_rate": "it is lr",
        "defaults": "it is state_dict()['options']",
    },
    "History": {
        "history": "to_dict() gives columns, such as to_dict()['loss']",
        "epoch": "epochs is a list, of an Epoch each",
        "loss": "losses is a list, one for each epoch; step_losses one for each step",
        "val_loss validation_loss": "validation_losses is a list, one for each epoch",
        "plot": "fastprop.draw.curves(history)",
    },
    "Picture": {"show savefig": "picture.save(path) writes a file; notebooks show what the last line of a cell gives"},
}
"""What is written instead of attributes, by the class that does not have them."""

OPTIONS: dict[str, Rows] = {
    "compile": {
        "static_argnames": "static_argnums=1 has positions, and these arguments are given by position; bools, None and "
        "strings are static wherever they stand",
        "donate_argnums donate_argnames": "nothing is computed in place: leave it out",
        "backend device": DEVICE,
        "inline keep_unused fullgraph dynamic mode": "it is recorded as it is called: leave it out",
    },
    "scan": {"unroll": "steps are run in C, one after the other: leave it out"},
    "vmap": {
        "axis_name spmd_axis_name": "fastprop.lane_sum and its like work across the lanes around: leave it out",
        "axis_size": "at least one argument has the lanes along an axis: leave it out",
        "in_dims": "it is in_axes",
        "out_dims": "it is out_axes",
        "randomness chunk_size": "fastprop.random gives every lane its own: leave it out",
    },
    "Module": {
        "inplace": "nothing is computed in place: leave it out",
        "batch_first": "a layer takes one example, (steps, features), and fastprop.vmap makes lanes of a batch",
        "device": DEVICE,
        "activation": "an activation is a layer of its own: Sequential(Linear(2, 3), ReLU())",
        "units input_shape input_dim": SIZES,
        "use_bias": "it is bias",
        "kernel_initializer": "it is init",
        "approximate": "it is computed as it is: leave it out",
        "padding_mode": "padding is of zeros",
        "rate": "it is p",
        "return_indices": "take fastprop.argmax",
        "return_sequences return_state": "the outputs of all steps, and the last state, are always given",
    },
    "Optimizer": {
        "learning_rate rate": "it is lr",
        "beta_1 beta_2 b1 b2": "it is betas=(0.9, 0.999)",
        "epsilon": "it is eps",
        "decay": "it is weight_decay; of the rate, schedule",
        "clipnorm clipvalue": "clip_norm and clip_value take gradients before a step",
        "foreach fused capturable differentiable": "a step is one pass in C: leave it out",
    },
    "fit": {
        "verbose": "it is progress=False",
        "validation_split validation_data eval_set": "it is validation: 0.2, or (x, y)",
        "learning_rate lr": "the optimizer has it: Adam(model, lr=0.001)",
        "max_epochs max_iter num_epochs n_epochs": "it is epochs",
        "seed random_state key generator": "it is rng=0",
        "loss_fn criterion": "it is loss",
        "early_stopping n_iter_no_change": "it is patience=5",
        "x y X dataset data_loader train_loader": "it is data: (x, y), or an iterable of batches",
        "workers num_workers device": "threads are set by fastprop.set_num_threads: leave it out",
        "weight_decay l2 alpha": "the optimizer has weight_decay; or give a penalty",
        "initial_epoch history": JOINED,
        "steps_per_epoch": "give batches: an iterable, or a function that returns one for every epoch",
        "schedule scheduler": f"the optimizer has one; schedules are {SCHEDULED}",
        "gradient_clip_val max_grad_norm": "see fastprop.optim.clip_norm, for a rule of one's own",
    },
}
"""What is written instead of options, by what is made or called with them."""

NAMES, ATTRIBUTES, OPTIONS = ({owner: _table(rows) for owner, rows in t.items()} for t in (NAMES, ATTRIBUTES, OPTIONS))


def let_hint(module: str) -> None:
    """Give a room its `__getattr__`, and a `__dir__` of its public names; type checkers don't see them."""
    room = sys.modules[module]

    def missing(name: str) -> Any:
        raise no_attribute(module, name)

    vars(room).update(__getattr__=missing, __dir__=lambda: sorted(room.__all__))


def no_attribute(module: str, name: str) -> AttributeError:
    """Return the error for what a room does not have, with what is written instead, if that is known."""
    hint = NAMES[module].get(name) or _elsewhere(module, name)
    text = f"module {module!r} has no attribute {name!r}" + (f": {hint}" if hint else "")
    return AttributeError(text, name=name, obj=sys.modules[module])


def _elsewhere(module: str, name: str) -> str:
    """Say in which other room a name stands."""
    if name.startswith("_"):
        return ""
    for other in ("fastprop", *(f"fastprop.{room}" for room in ROOMS)):
        if other != module and name in importlib.import_module(other).__all__:
            return f"it is {other}.{name}"
    return ""


def _of(kind: type, tables: dict[str, Rows]) -> Rows:
    """Return the table of a class, or of the one that it is derived from."""
    return next((tables[base.__name__] for base in kind.__mro__ if base.__name__ in tables), {})


class Hinted:
    """What knows attributes and options of its kind that others have, and says what to write instead."""

    if not TYPE_CHECKING:  # which would take any attribute and any option then

        def __new__(cls, *given: Any, **options: Any) -> Any:  # noqa: D102
            takes_none = cls.__init__ is object.__init__
            for option in options.keys() & _of(cls, OPTIONS).keys() if options else ():
                if takes_none or not _takes(cls.__init__, option):
                    raise TypeError(f"{cls.__name__}() takes no {option}: {_of(cls, OPTIONS)[option]}")
            if takes_none and (given or options):
                raise TypeError(f"{cls.__name__}() takes no arguments")
            return super().__new__(cls)

        def __getattr__(self, name: str) -> Any:
            if hasattr(type(self), name):  # a property that has raised
                return object.__getattribute__(self, name)
            hint = _of(type(self), ATTRIBUTES).get(name)
            text = f"{type(self).__name__!r} object has no attribute {name!r}" + (f": {hint}" if hint else "")
            raise AttributeError(text, name=name, obj=self)


def elsewhere(name: str, hint: str) -> property:
    """Return an attribute that is none, for a class that can't ask its instances for what it does not have."""

    def missing(self: Any, *value: Any) -> Any:
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}: {hint}", name=name, obj=self)

    return property(missing, missing)


def with_hints(f: F) -> F:
    """Let a function say what to write instead of options that others have."""
    table = OPTIONS[f.__name__]

    @functools.wraps(f)
    def hinting(*args: Any, **options: Any) -> Any:
        for option in options.keys() & table.keys():
            if not _takes(f, option):
                raise TypeError(f"{f.__name__}() takes no {option}: {table[option]}")
        return f(*args, **options)

    return hinting  # type: ignore[return-value]


def _takes(f: Callable[..., Any], option: str) -> bool:
    found = inspect.signature(f).parameters
    return option in found or any(p.kind is p.VAR_KEYWORD for p in found.values())
