"""What users of PyTorch, Keras, JAX, micrograd and scikit-learn look for, and what it is called here.

One table for each room, for each class with attributes that others have, and for each set of options; whoever asks for
something else gets Python's usual error.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

__all__ = [
    "ATTRIBUTES",
    "INSTEAD",
    "OPTIONS",
    "Hinted",
    "elsewhere",
    "let_hint",
    "let_options_hint",
    "no_attribute",
    "refuse_options",
    "with_hints",
]

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
    """Return rows by each of their names, which are written in a row, and stand in their texts as NAME."""
    return {name: hint.replace("NAME", name) for names, hint in rows.items() for name in names.split()}


NAMES: dict[str, Rows] = {
    "fastprop": {
        "tensor Tensor Parameter asarray array from_numpy as_tensor FloatTensor DoubleTensor "
        "LongTensor": "an array of leaves is fastprop.Array; what is no leaf is a NumPy array",
        "Value Variable Scalar": "one number is fastprop.Unit, an array fastprop.Array",
        "no_grad inference_mode enable_grad set_grad_enabled "
        "is_grad_enabled": "what leaves go into is recorded; model.apply(params, x) with plain numbers is not",
        "jit function": "it is fastprop.compile",
        "grad_and_value value_and_gradient": "it is fastprop.value_and_grad",
        "gradient derivative": "it is fastprop.grad(f)",
        "numerical_gradient eval_numerical_gradient approx_fprime": "it is fastprop.numerical_grad(f, (x,))",
        "check_grad gradient_check": "it is fastprop.check_grads(f, (x,))",
        "sig": "it is fastprop.sigmoid",
        "LinearSVC MLPClassifier MLPRegressor SVM": "fastprop.estimators has MLPClassifier, MLPRegressor and LinearSVC",
        "elementwise_grad egrad": "it is fastprop.vmap(fastprop.grad(f))",
        "make_vjp": "it is fastprop.vjp",
        "make_jvp custom_jvp defjvp": "it is fastprop.jvp; a gate of one's own is a subclass of fastprop.Gate",
        "hessian_vector_product make_hvp": "it is fastprop.hvp",
        "gradcheck gradgradcheck testing": "it is fastprop.check_grads",
        "make_jaxpr eval_shape": "fastprop.trace(f, *arguments).summary() says what is recorded",
        "debug": "print within fastprop.eager() shows numbers, and fastprop.debug_nans() finds the first NaN",
        "enable_x64 set_default_dtype": "float64 is the default, and float32 where arrays are: "
        "fastprop.compile(f, dtype='float32')",
        "functional_call": "it is model.apply(params, x)",
        "func functorch jax torch": "functions of functions stand in fastprop itself, such as fastprop.grad",
        "jacrev jacfwd": "it is fastprop.jacobian",
        "linearize": "it is fastprop.jvp",
        "fori_loop while_loop associative_scan": "a loop is Python's, or fastprop.scan, which is recorded once",
        "checkpoint remat": "fastprop.scan keeps what steps carry, and runs each of them again: leave it out",
        "one_hot": "it is labels[:, None] == numpy.arange(classes); or take scores[label], with the label as it is",
        "pmap vectorize apply_along_axis map": "it is fastprop.vmap, whose lanes run on threads: see "
        "fastprop.set_num_threads",
        "numpy jnp np math": "functions stand in fastprop itself, such as fastprop.exp",
        "linalg": "solve, inv, cholesky and their like stand in fastprop itself, such as fastprop.solve",
        "special scipy stats": "sigmoid (for expit), erf, gammaln and their like stand in fastprop itself, such as "
        "fastprop.logsumexp",
        "expit": "it is fastprop.sigmoid",
        "log_expit logsigmoid": "it is fastprop.log_sigmoid",
        "logit": "write fastprop.log(p) - fastprop.log1p(-p)",
        "lgamma loggamma": "it is fastprop.gammaln",
        "psi": "it is fastprop.digamma",
        "betaln": "write fastprop.gammaln(a) + fastprop.gammaln(b) - fastprop.gammaln(a + b)",
        "xlogy": "write fastprop.where(x == 0.0, 0.0, x * fastprop.log(y))",
        "functional layers losses keras": "see fastprop.nn",
        "zeros ones full empty eye identity logspace meshgrid "
        "arange linspace rand randn": "NumPy makes arrays, fastprop.Array leaves of them; "
        "fastprop.at(numpy.zeros(3))[i].set(x) changes one",
        "seed manual_seed PRNGKey": "random numbers come from rng=0, or fastprop.random",
        "save load": SAVED,
        "device cuda device_put device_get block_until_ready": DEVICE,
        "GradientTape autograd": "result.backward() sweeps what was recorded; or take fastprop.value_and_grad(f)",
        "backward": "it is a method: result.backward()",
        "cat concat": "it is fastprop.concatenate",
        "abs fabs": "it is fastprop.absolute",
        "pow": "it is fastprop.power",
        "mod": "it is fastprop.remainder",
        "acos asin atan acosh asinh atanh atan2": "it has NumPy's name, such as fastprop.arccos, fastprop.arctan2",
        "neg": "write -x, or fastprop.negative(x)",
        "mul": "write x * y, or fastprop.multiply(x, y)",
        "sub": "write x - y, or fastprop.subtract(x, y)",
        "div truediv true_divide": "write x / y, or fastprop.divide(x, y)",
        "equal eq gt ge lt le greater less": "write x == y, x > y and their like",
        "rsqrt": "write 1.0 / fastprop.sqrt(x)",
        "clamp relu6 hardtanh hard_tanh": "it is fastprop.clip(x, low, high)",
        "softsign": "write x / (1.0 + fastprop.absolute(x))",
        "mish": "write x * fastprop.tanh(fastprop.softplus(x))",
        "mm bmm mv": "write a @ b, or fastprop.matmul(a, b)",
        "t permute permute_dims": "it is fastprop.transpose",
        "unsqueeze": "it is fastprop.expand_dims",
        "view": "it is fastprop.reshape",
        "chunk": "it is fastprop.split",
        "unbind": "iterate over it",
        "gather": "it is fastprop.take_along_axis",
        "index_select embedding": "it is fastprop.take(table, indices, axis=0)",
        "scatter scatter_add index_add index_put segment_sum": "write x.at[indices].set(values), or .add(values); of a "
        "NumPy array fastprop.at(x)[indices].add(values)",
        "masked_fill": "it is fastprop.where(mask, value, x)",
        "topk": "take fastprop.sort(x), or fastprop.argsort(x)",
        "dropout": "it is the layer fastprop.nn.Dropout",
        "piecewise": "it is fastprop.select",
        "isnan isinf isfinite signbit": "it is NAME of NumPy: numpy.NAME(x)",
        "zeros_like ones_like full_like empty_like": "it is NumPy's, and makes a plain array: numpy.NAME(x)",
        "is_tensor": "write isinstance(x, (fastprop.Unit, fastprop.Array))",
        "detach": "it is fastprop.stop_gradient",
        "nan inf pi e float32 float64 int32 int64 newaxis ndarray": "it is NumPy's: numpy.NAME",
        "swish": "it is fastprop.silu",
        "lax": "fastprop.scan is a loop; branches are Python's if, or fastprop.where",
        "cond switch": "branches are Python's if, or fastprop.where",
        "tree tree_util map_structure tree_leaves tree_flatten "
        "flatten_util ravel_pytree": "nests go through all transforms as they are; there is fastprop.tree_map",
        "custom_vjp Function": "a gate of one's own is a subclass of fastprop.Gate",
        "DataLoader": BATCHES,
    },
    "fastprop.random": {
        "PRNGKey": "it is key",
        "seed default_rng RandomState Generator manual_seed": "there is no hidden state: numbers are drawn by a key, "
        "normal(key(0), (2, 3)); outside of functions, numpy.random.default_rng(0) has plain ones",
        "lognormal": "it is exp(normal(key))",
        "multivariate_normal": "it is mean + fastprop.cholesky(covariance) @ normal(key, n)",
        "truncated_normal laplace logistic gamma beta poisson dirichlet": "uniform, normal and bernoulli are there: "
        "write it by these; constants are drawn by numpy.random.default_rng(0)",
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
        "BCELoss BinaryCrossentropy binary_crossentropy bce": f"{LOSS}binary_cross_entropy, or …_with_logits of scores",
        "HingeEmbeddingLoss hinge_loss SoftMarginLoss": f"{LOSS}hinge, of labels -1 and 1",
        "MultiMarginLoss multi_margin_loss multi_hinge "
        "structured_hinge": f"{LOSS}multiclass_hinge, which is summed over the classes",
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
        "Parameter Variable param parameter Tensor": LEAVES,
        "initializers": "they stand in fastprop.nn.init, and are given by name: Linear(2, 3, init='he_normal')",
        "flatten": "it is the layer Flatten, or fastprop.reshape(x, -1)",
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
        "softmax log_softmax logsumexp norm tile split flip roll pad tril triu diag outer expand_dims broadcast_to "
        "take_along_axis moveaxis": "it is a function: fastprop.NAME(x, ...)",
        "abs": "write abs(x), or fastprop.absolute(x)",
        "pow": "write x ** y, or fastprop.power(x, y)",
        "neg": "write -x",
        "mul sub div": "write x * y, x - y, x / y",
        "matmul mm bmm mv": "write a @ b",
        "add_ sub_ mul_ div_ zero_ fill_ copy_ clamp_ fill put": "nothing is computed in place: write x = x + y, "
        "x = x.at[i].set(v), or assign to a leaf: x.value = numbers",
        "zero_grad": "it is fastprop.zero_grad([x]), or x.grad = 0.0",
        "retain_grad": "results have gradients as long as they are held: leave it out",
        "is_leaf": "what you made, fastprop.Unit(2.0), is a leaf; what gates gave is none",
        "register_hook": "a gate of one's own is a subclass of fastprop.Gate",
        "dim": "it is ndim",
        "t": "it is T",
        "float double half long int type": "it is astype(numpy.float32)",
        "eq ne gt ge lt le": "write x == y, x > y and their like",
        "clamp": "it is clip",
        "gather": "it is fastprop.take_along_axis",
        "index_select": "it is fastprop.take(x, indices, axis=0)",
        "scatter scatter_ scatter_add scatter_add_ index_add index_add_ index_put index_put_": "write "
        "x.at[indices].set(values), or .add(values)",
        "masked_fill masked_fill_": "it is fastprop.where(mask, value, x)",
        "expand expand_as": "it is fastprop.broadcast_to(x, shape)",
        "chunk": "it is fastprop.split",
        "unbind": "iterate over it",
        "topk": "take fastprop.sort(x), or fastprop.argsort(x)",
        "contiguous block_until_ready": "leave it out",
        "device is_cuda": DEVICE,
        "new_zeros new_ones new_full": "NumPy makes plain arrays: numpy.zeros(x.shape)",
        "requires_grad requires_grad_": "leaves that are handed to gates get gradients; plain numbers get none",
        "to cuda": DEVICE,
        "view": "it is reshape",
        "unsqueeze": "it is reshape, or fastprop.expand_dims",
        "permute": "it is transpose",
        "numel": "it is size",
        "clone": "results are never written in place: use it as it is",
        "_prev _op _backward grad_fn": "fastprop.draw.circuit(x) shows what it was computed from",
    },
    "Values": {
        "zero_": "write x.grad = 0.0, or fastprop.zero_grad([x])",
        "detach numpy cpu clone": "it is a plain array: leave it out",
    },
    "Circuit": {"save": "a circuit is pickled: pickle.dump(circuit, file)"},
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

DERIVED = {
    "argnum argnames": "it is argnums, of positions: argnums=(0, 1)",
    "allow_int": "integers count as floats: leave it out",
    "holomorphic": "numbers are real: leave it out",
    "create_graph retain_graph allow_unused": "derivatives can be derived again: leave it out",
    "vectorize chunk_size strategy strict": "leave it out",
}

OPTIONS: dict[str, Rows] = {
    "Array": {
        "requires_grad trainable": "leaves always get gradients, and plain numbers none: leave it out",
        "device": DEVICE,
        "copy ndmin order": "numbers are always copied, and keep their shape: leave it out",
    },
    "of random": {
        "size": "it is shape, as in shape=(2, 3)",
        "loc scale mean std": "write mean + scale * normal(key, shape)",
        "low high a b": "they are minval and maxval",
        "dtype": "numbers are float64, and float32 where that is computed in: leave it out",
        "seed rng generator": "it is key, as in key=fastprop.random.key(0)",
    },
    "of arrays": {
        "dim": "it is axis, as in axis=0",
        "dims": "it is axis, as in axis=(0, 1), or axes of tensordot and transpose",
        "keepdim": "it is keepdims",
        "dtype": "results have the dtype of what they are made of; write .astype(numpy.float32) behind it",
        "out": "nothing is computed in place: write a = f(x)",
        "where": "take it of fastprop.where(mask, x, 0.0)",
        "initial": "leave it out, or use fastprop.maximum or + with it",
        "correction unbiased": "it is ddof: ddof=1 divides by n - 1, ddof=0 by n",
        "p": "it is ord, as in ord=1",
        "a_min": "it is min, as in min=0.0",
        "a_max": "it is max, as in max=1.0",
        "input other tensor tensors": "arrays are given by position: leave the name out",
        "descending": "take fastprop.flip of what is in order",
        "stable kind": "equal numbers stay in their order: leave it out",
    },
    **{name: DERIVED for name in ("grad", "value_and_grad", "jacobian", "hessian")},
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
    "LBFGS": {
        "lr learning_rate": "a step is as long as a search along a line finds it: leave it out",
        "line_search_fn": "it always searches along a line: leave it out",
        "max_eval maxfun": "it is max_iter",
        "tol gtol": "it is tolerance_grad",
        "bounds": "there are none: learn what is in them by a function, such as fastprop.exp, or clip",
    },
    "fit": {
        "verbose": "it is progress=True or False",
        "validation_split validation_data eval_set": "it is validation: 0.2, or (x, y)",
        "learning_rate lr": "the optimizer has it: Adam(model, lr=0.001)",
        "max_epochs max_iter num_epochs n_epochs epoch": "it is epochs",
        "batch bs": "it is batch_size",
        "callback": "it is callbacks",
        "class_weights": "it is class_weight: a dict by label, an array, or 'balanced'",
        "weights sample_weights": "it is sample_weight, or the third of (x, y, weights)",
        "metric": "it is metrics: {'accuracy': lambda scores, label: numpy.argmax(scores) == label}",
        "regularizer regulariser regularization": "it is penalty: lambda params: nn.regularisers.l2(params, 1e-4)",
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

INSTEAD: Rows = {
    "nonzero": "their number depends on values: use fp.where, or .value",
    "argwhere": "their number depends on values: use fp.where, or .value",
    "unique": "their number depends on values: use .value",
    "median": "use np.sort and its middle",
    "average": "use np.sum(a * weights) / np.sum(weights)",
    "copyto": "write a = b",
    "put": "use a.at[i].set(v)",
    "append": "use np.concatenate",
    "insert": "use np.concatenate",
    "delete": "use np.concatenate, or an index",
    "column_stack": "use np.stack(…, axis=-1), or np.concatenate(…, axis=-1) of matrices",
    "dstack": "use np.stack(…, axis=-1)",
    "block": "use np.concatenate",
    "fliplr": "use np.flip(a, axis=1)",
    "flipud": "use np.flip(a, axis=0)",
    "ptp": "use np.max(a) - np.min(a)",
    "fill_diagonal": "use np.where(np.eye(len(a)) == 1.0, value, a)",
    "linspace": "use start + (stop - start) * np.linspace(0.0, 1.0, n)",
    "percentile": "use np.sort and an index",
    "quantile": "use np.sort and an index",
    "heaviside": "use np.where(a > 0.0, 1.0, 0.0)",
    "nan_to_num": "use np.where(np.isnan(a), 0.0, a)",
    "allclose": "use np.all(np.abs(a - b) < 1e-8)",
    "array_equal": "use np.all(a == b)",
    "add.reduce": "use np.sum",
    "multiply.reduce": "use np.prod",
    "maximum.reduce": "use np.max",
    "minimum.reduce": "use np.min",
    "logaddexp.reduce": "use fp.logsumexp",
    "add.accumulate": "use np.cumsum",
    "multiply.accumulate": "use np.cumprod",
    "add.at": "use a.at[i].add(v)",
    "vecdot": "use np.sum(a * b, axis=-1)",
    "linalg.vecdot": "use np.sum(a * b, axis=-1)",
    "linalg.multi_dot": "use @",
    "linalg.matrix_power": "use @",
    "linalg.cross": "use np.stack of its three numbers",
    "cross": "use np.stack of its three numbers",
    "linalg.diagonal": "use np.diagonal(a, axis1=-2, axis2=-1)",
    "linalg.trace": "use np.trace(a, axis1=-2, axis2=-1)",
    "linalg.eigvalsh": "use np.linalg.eigh(a)[0]",
    "linalg.lstsq": "use np.linalg.qr and fp.solve_triangular",
    "linalg.eig": "use np.linalg.eigh of a symmetric matrix",
    "linalg.svd": "use np.linalg.eigh of a.T @ a, or np.linalg.qr",
    "linalg.pinv": "use np.linalg.solve or np.linalg.inv",
}
"""What is written instead of NumPy's functions that are no gates."""

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
    """Say in which other room a name stands, or what is written instead there, or of NumPy's function."""
    if name.startswith("_"):
        return ""
    others = [room for room in ("fastprop", *(f"fastprop.{room}" for room in ROOMS)) if room != module]
    for other in others:
        if name in importlib.import_module(other).__all__:
            return f"it is {other}.{name}"
    for key in (name, f"linalg.{name}"):
        if key in INSTEAD:
            return INSTEAD[key].replace("np.", "numpy.").replace("fp.", "fastprop.")
    for other in others:
        if name in NAMES[other]:
            return f"see {other}: {NAMES[other][name]}"
    return f"NumPy has it, for plain numbers: numpy.{name}" if name in importlib.import_module("numpy").__all__ else ""


def _of(kind: type, tables: dict[str, Rows]) -> Rows:
    """Return the table of a class, or of the one that it is derived from."""
    return next((tables[base.__name__] for base in kind.__mro__ if base.__name__ in tables), {})


class Hinted:
    """What knows attributes and options of its kind that others have, and says what to write instead."""

    if not TYPE_CHECKING:  # which would take any attribute and any option then

        def __new__(cls, *given: Any, **options: Any) -> Any:  # noqa: D102
            takes_none = cls.__init__ is object.__init__
            if options:
                refuse_options(cls.__name__, options, _of(cls, OPTIONS), None if takes_none else cls.__init__)
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


def with_hints(f: F, kind: str = "") -> F:
    """Let a function say what to write instead of options that others have; `kind` names their table, or its name."""
    table = OPTIONS[kind or f.__name__]

    @functools.wraps(f)
    def hinting(*args: Any, **options: Any) -> Any:
        try:
            return f(*args, **options)
        except TypeError:
            refuse_options(f.__name__, options, table, f)
            raise

    return hinting  # type: ignore[return-value]


def let_options_hint(module: str, kind: str) -> None:
    """Let all public functions of a module say what to write instead of options that others have."""
    functions = vars(sys.modules[module])
    functions.update({name: with_hints(functions[name], kind) for name in functions["__all__"]})


def refuse_options(called: str, options: Iterable[str], table: Rows, f: Callable[..., Any] | None = None) -> None:
    """Raise the error for the first option that `f`, if given, does not take, and that others have."""
    for option in options:
        if option in table and (f is None or not _takes(f, option)):
            raise TypeError(f"{called}() takes no {option}: {table[option]}") from None


def _takes(f: Callable[..., Any], option: str) -> bool:
    found = inspect.signature(f).parameters
    return option in found or any(p.kind is p.VAR_KEYWORD for p in found.values())
