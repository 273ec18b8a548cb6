"""What stands in a picture of a circuit: a box for each gate, or, of a large circuit, for what is folded together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastprop.draw.svg import shortened, written
from fastprop.draw.wires import Wires

__all__ = ["Box", "Diagram", "diagram_of"]

MOST_GROUPS = 120  # boxes in a picture that is folded by layer; more are folded into bands
BANDS = 12
MOST_KINDS = 6  # named in one box, and in its tip four times as many
MOST_CHARACTERS = 200  # of a name, in a tip
MOST_WIRES = 300  # between groups

SYMBOLS = {
    "add": "+", "subtract": "−", "multiply": "×", "divide": "÷", "negative": "−", "power": "^", "sigmoid": "σ",
    "square": "x²", "sqrt": "√", "reciprocal": "1/x", "absolute": "|x|", "sum": "Σ", "prod": "Π", "maximum": "max",
    "minimum": "min", "matmul": "@", "less": "<", "less_equal": "≤", "equal": "=", "not_equal": "≠", "both": "&",
    "either": "|", "not": "¬",
}  # fmt: skip


@dataclass
class Box:
    """A source (a leaf, a constant), a gate, or a group of them.

    `lines` stand in it (of a source: at its left), `name` above; `value` and `gradient` on the wire behind it.
    """

    shape: str
    lines: list[str]
    rank: int
    name: str = ""
    value: str = ""
    gradient: str = ""
    title: str = ""
    runs: bool = True  # there is a gate in it


@dataclass
class Diagram:
    """Boxes, what is wired to what (``(source, target)``, in the order of the operands), and a line below."""

    boxes: list[Box]
    wires: list[tuple[int, int]]
    outputs: list[int]
    caption: str
    counts: dict[tuple[int, int], int] = field(default_factory=dict)  # of wires that stand for many


def diagram_of(wires: Wires, most: int) -> Diagram:
    """Return a box for each node if there are no more than `most`; else fold by layer, or by bands of layers."""
    rank = _ranks(wires)
    deepest = int(rank.max(initial=0))
    longest = max(deepest, int(np.bincount(rank).max(initial=0)))  # of all rows and columns
    if len(wires) <= most and len(wires.operand) <= 4 * most and longest <= max(most // 3, 1):
        return _single(wires, rank)
    group = rank * len(wires.kinds) + wires.kind
    found, inverse = np.unique(group, return_inverse=True)
    if len(found) <= MOST_GROUPS and deepest <= MOST_GROUPS // 3:
        return _folded(wires, found // len(wires.kinds), inverse, 1)
    width = -(-(deepest + 1) // BANDS)
    found, inverse = np.unique(rank // width, return_inverse=True)
    return _folded(wires, found, inverse, width)


def _ranks(wires: Wires) -> NDArray[np.int64]:
    """Return each node's column: of gates their depth, of leaves and constants that before their first use."""
    source = wires.kind <= 1
    uses = wires.uses()
    first_use = np.full(len(wires), np.iinfo(np.int64).max)
    np.minimum.at(first_use, wires.operand, wires.depth[uses])
    rank = np.where(source, np.where(first_use < np.iinfo(np.int64).max, first_use - 1, 0), wires.depth)
    return rank - rank.min(initial=np.iinfo(np.int64).max) if len(rank) else rank


# --------------------------------------------------------------------------------------------------- every gate


def _single(wires: Wires, rank: NDArray[np.int64]) -> Diagram:
    boxes = [_box_of(wires, node, int(rank[node])) for node in range(len(wires))]
    pairs = list(zip(wires.operand.tolist(), wires.uses().tolist()))
    return Diagram(boxes, pairs, wires.outputs, _counted(wires.gates, "gate") if wires.gates else "")


def _box_of(wires: Wires, node: int, rank: int) -> Box:
    kind, name = wires.kinds[wires.kind[node]], shortened(wires.name(node), MOST_CHARACTERS)
    value, gradient = _texts(wires, node)
    title = f"{kind} {name}" if name else kind
    symbol = wires.symbol(node)
    source = wires.kind[node] <= 1
    if not source:
        title = " ".join(filter(None, [kind, symbol, name]))
    if value:
        title += f"\nvalue {_whole(wires, node, 0)}"
    if gradient:
        title += f"\ngradient {_whole(wires, node, 1)}"
    if line := wires.line(node):
        title += f"\n{line}"
    if source:
        return Box("source", [shortened(name)], rank, "", value, gradient, title, False)
    return Box("gate", [shortened(symbol or SYMBOLS.get(kind, kind))], rank, shortened(name), value, gradient, title)


def _texts(wires: Wires, node: int) -> tuple[str, str]:
    """Return value and gradient of a node as they stand on its wire."""
    if node in wires.arrays:
        value, gradient = wires.arrays[node]
        blank = gradient is None or not wires.pulled[node]
        return _array_text(value, True), "" if blank else _array_text(gradient, False)
    value = written(wires.value[node]) if wires.valued[node] else ""
    return value, written(wires.gradient[node]) if wires.pulled[node] else ""


def _whole(wires: Wires, node: int, which: int) -> str:
    """Return value or gradient with all digits; of arrays, the beginning."""
    if node in wires.arrays:
        array = np.asarray(wires.arrays[node][which])
        text = " ".join(repr(x) for x in array.ravel()[:6].tolist())
        return f"{array.dtype}{list(array.shape)}: {text}{' …' if array.size > 6 else ''}"
    return repr(float((wires.value, wires.gradient)[which][node]))


def _array_text(array: Any, shape: bool) -> str:
    """Return an array's numbers if they are few, else their range, behind its shape."""
    array = np.asarray(array, np.float64)
    if array.ndim == 1 and array.size <= 3:
        return f"[{', '.join(map(written, array.tolist()))}]"
    lengths = "×".join(map(str, array.shape))
    return f"{lengths if shape else ''} {_range_text(*_range_of(array))}".strip()


def _range_of(array: NDArray[np.float64]) -> tuple[float, float, bool]:
    """Return the least and the largest of some numbers, and whether NaN is among them."""
    numbers = array[~np.isnan(array)]
    low = numbers.min(initial=np.inf)
    return float(low), float(numbers.max(initial=-np.inf)), numbers.size < array.size


def _range_text(low: float, high: float, nan: bool) -> str:
    text = "" if low > high else written(low) if low == high else f"{written(low)}…{written(high)}"
    return f"{text} nan".strip() if nan else text


def _counted(n: int, what: str) -> str:
    return f"{n:,} {what}{'s' * (n != 1)}"


# ------------------------------------------------------------------------------------------------------ folded


def _folded(wires: Wires, rank: NDArray[np.int64], inverse: NDArray[np.int64], width: int) -> Diagram:
    """Return a box for each group of nodes; `rank` is that of each group, of `width` layers each."""
    groups = len(rank)
    values, gradients = _group_texts(wires, inverse, groups)
    kinds, counts = np.unique(inverse * len(wires.kinds) + wires.kind, return_counts=True)
    parts: list[list[tuple[int, str]]] = [[] for _ in range(groups)]
    runs = [False] * groups
    for key, count in zip(kinds.tolist(), counts.tolist()):
        i, kind = divmod(key, len(wires.kinds))
        parts[i].append((count, wires.kinds[kind]))
        runs[i] = runs[i] or kind > 1
    boxes = []
    for i, part in enumerate(parts):
        part.sort(key=lambda counted: -counted[0])
        lines = [shortened(kind) + (f" × {count:,}" if count > 1 else "") for count, kind in part[:MOST_KINDS]]
        tip = [f"{shortened(kind, MOST_CHARACTERS)} × {count}" for count, kind in part[: 4 * MOST_KINDS]]
        for texts in (lines, tip):
            if len(part) > len(texts):
                texts.append(_counted(len(part) - len(texts), "other kind"))
        name = f"layers {rank[i] * width}–{rank[i] * width + width - 1}" if width > 1 else ""
        column = i if width > 1 else int(rank[i])
        boxes.append(Box("group", lines, column, name, values[i], gradients[i], "\n".join(tip), runs[i]))
    pairs, caption = _group_wires(wires, inverse, groups)
    outputs = sorted({int(inverse[node]) for node in wires.outputs})
    how = "layer by layer" if width == 1 else f"{width} layers in a box"
    caption = f"{_counted(wires.gates, 'gate')}, folded: {how}{caption}"
    return Diagram(boxes, list(pairs), outputs, caption, pairs)


def _group_wires(wires: Wires, inverse: NDArray[np.int64], groups: int) -> tuple[dict[tuple[int, int], int], str]:
    """Return how many wires there are between groups, at most so many, and what is said of the others."""
    keys = inverse[wires.operand] * groups + inverse[wires.uses()]
    found, counts = np.unique(keys, return_counts=True)
    pairs = [(int(key) // groups, int(key) % groups, int(count)) for key, count in zip(found, counts)]
    pairs = [pair for pair in pairs if pair[0] != pair[1]]
    pairs.sort(key=lambda pair: -pair[2])
    left = sum(count for _, _, count in pairs[MOST_WIRES:])
    kept = sorted(pairs[:MOST_WIRES], key=lambda pair: (pair[1], pair[0]))
    return {(i, j): count for i, j, count in kept}, f"; {_counted(left, 'wire')} not drawn" if left else ""


def _group_texts(wires: Wires, inverse: NDArray[np.int64], groups: int) -> tuple[list[str], list[str]]:
    """Return the ranges of the values and of the gradients of each group."""
    found = []
    for which, numbers, known in ((0, wires.value, wires.valued), (1, wires.gradient, wires.pulled)):
        low, high = np.where(known, numbers, np.inf), np.where(known, numbers, -np.inf)
        nan = np.isnan(numbers) & known
        for node, arrays in wires.arrays.items():
            low[node], high[node], nan[node] = np.inf, -np.inf, False
            if known[node] and arrays[which] is not None:
                low[node], high[node], nan[node] = _range_of(np.asarray(arrays[which], np.float64))
        least, most, odd = np.full(groups, np.inf), np.full(groups, -np.inf), np.zeros(groups, np.bool_)
        np.fmin.at(least, inverse, low)
        np.fmax.at(most, inverse, high)
        np.logical_or.at(odd, inverse, nan)
        found.append([_range_text(a, b, c) for a, b, c in zip(least.tolist(), most.tolist(), odd.tolist())])
    return found[0], found[1]
