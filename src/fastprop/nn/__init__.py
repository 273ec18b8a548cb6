"""Networks: layers of one example, whose parameters are leaves; first weights; losses and regularisers.

Lanes make the batch: ``fp.vmap`` of a function that calls a network with one example. Names, defaults, shapes and names
of parameters are PyTorch's; Neuron, Layer and MLP are micrograd's.
"""

from fastprop.hints import let_hint
from fastprop.nn import activations, init, losses, regularisers
from fastprop.nn.activations import *  # noqa: F403
from fastprop.nn.attention import MultiheadAttention, scaled_dot_product_attention
from fastprop.nn.convolution import AvgPool1d, AvgPool2d, Conv1d, Conv2d, MaxPool1d, MaxPool2d
from fastprop.nn.dropout import Dropout
from fastprop.nn.linear import Bilinear, Embedding, Flatten, Identity, Linear, Maxout, Sequential
from fastprop.nn.losses import *  # noqa: F403
from fastprop.nn.module import Module
from fastprop.nn.normalisation import BatchNorm, LayerNorm, LocalResponseNorm, RMSNorm
from fastprop.nn.recurrent import GRU, LSTM, RNN
from fastprop.nn.scalar import MLP, Layer, Neuron

__all__ = [
    "Module",
    "Neuron",
    "Layer",
    "MLP",
    "Sequential",
    "Linear",
    "Bilinear",
    "Maxout",
    "Embedding",
    "Flatten",
    "Identity",
    "Conv1d",
    "Conv2d",
    "MaxPool1d",
    "MaxPool2d",
    "AvgPool1d",
    "AvgPool2d",
    "RNN",
    "LSTM",
    "GRU",
    "MultiheadAttention",
    "scaled_dot_product_attention",
    "Dropout",
    "BatchNorm",
    "LayerNorm",
    "RMSNorm",
    "LocalResponseNorm",
    *activations.__all__,
    *losses.__all__,
    "init",
    "losses",
    "regularisers",
]

let_hint(__name__)
