"""Learning curves as SVG: losses and metrics over the epochs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastprop.draw.svg import GREY, INK, PALE, Picture, document, element, escaped, place, shortened, width_of, written
from fastprop.training import History

__all__ = ["curves"]

COLOURS = ("#0969da", "#bc4c00", "#1a7f37", "#8250df", "#bf3989", "#4d2d00")
WIDTH, HEIGHT = 520.0, 210.0  # of the plane of one panel
LEFT, TOP, BOTTOM, RIGHT = 74.0, 44.0, 44.0, 20.0
MOST_POINTS = 1000  # in a curve; of more, the lowest and the highest in each stretch
BEST = width_of("best")
NOT_CURVES = ("epoch", "rate", "steps", "seconds")


@dataclass
class Panel:
    """Some curves that share their axes; `left_out` are the numbers that a logarithm does not have."""

    title: str
    names: list[str]
    x: list[list[float]]
    y: list[list[float]]
    left_out: int = 0


def curves(history: Any, *, log: bool = False, title: str = "") -> Picture:
    """Draw the learning curves of a `fit`: the loss, and below it every metric, in training and validation.

    Parameters
    ----------
    history : History or dict
        What `fastprop.fit` returns; or columns, as `History.to_dict` gives them: ``{"loss": [0.9, 0.5],
        "validation_loss": [1.0, None]}``. "epoch", if there is such a column, are the numbers below.
    log : bool, optional
        Draw losses on a logarithmic axis; what is not above 0 is left out, and counted in the picture.
    title : str, optional
        A line above.

    Returns
    -------
    Picture
        It has `svg` and `save`; notebooks show it.

    Notes
    -----
    NaN, infinities and None are gaps. A dashed line marks the best epoch of a History.

    Examples
    --------
    >>> import fastprop as fp
    >>> picture = fp.draw.curves({"loss": [1.0, 0.5, 0.25], "accuracy": [0.5, 0.75, 1.0]})
    >>> picture.svg.count("<polyline")
    2
    """
    best = None
    if isinstance(history, History):
        best, columns = history.best, history.to_dict()
    elif isinstance(history, Mapping):
        columns = dict(history)
    else:
        own = "; give its history_" if hasattr(history, "history_") else ""
        raise TypeError(
            f"curves takes the History that fit returns, or a dict of columns, not a {type(history).__name__}{own}; "
            "Histories of fits that went on from each other are joined by +"
        )
    panels = _panels(columns, log)
    mark = None if best is None else float(best.number)
    parts, y = [], 10.0
    if title:
        parts.append(element("text", str(title), x=LEFT, y=24, fill=INK, font_size="15"))
        y += 20
    for i, panel in enumerate(panels):
        parts += _panel(panel, y, log and i == 0, mark)
        y += TOP + HEIGHT + BOTTOM
    return Picture(document(LEFT + WIDTH + RIGHT, y, str(title or "learning curves"), parts))


# ------------------------------------------------------------------------------------------------------- numbers


def _panels(columns: Mapping[str, Any], log: bool) -> list[Panel]:
    """Return a panel for each quantity, the loss first, with its curves in training and validation."""
    columns = {str(name): _numbers(name, column) for name, column in columns.items()}
    lengths = {len(column) for column in columns.values()}
    if len(lengths) > 1:
        counted = ", ".join(f"{name}: {len(column)}" for name, column in columns.items())
        raise ValueError(f"the columns have different lengths ({counted}); expected one number for each epoch")
    given = columns.get("epoch")
    epochs = given if given is not None else [float(i) for i in range(1, max(lengths, default=0) + 1)]
    quantities = [name for name in columns if name not in NOT_CURVES and not name.startswith("validation_")]
    alone = [name for name in columns if name.startswith("validation_") and name[11:] not in quantities]
    quantities = ["loss", *[name for name in [*quantities, *(name[11:] for name in alone)] if name != "loss"]]
    return [_panel_of(name, columns, epochs, log and name == "loss") for name in quantities]


def _panel_of(quantity: str, columns: Mapping[str, list[float]], epochs: list[float], log: bool) -> Panel:
    panel = Panel(quantity, [], [], [])
    for name, label in ((quantity, "training"), (f"validation_{quantity}", "validation")):
        if name not in columns or not any(map(math.isfinite, columns[name])):
            continue
        y = columns[name]
        if log:
            panel.left_out += sum(number <= 0.0 for number in y if math.isfinite(number))
            y = [math.log10(number) if math.isfinite(number) and number > 0.0 else math.nan for number in y]
        panel.names.append(label)
        panel.x.append(epochs)
        panel.y.append([number if math.isfinite(number) else math.nan for number in y])
    return panel


def _numbers(name: str, column: Any) -> list[float]:
    try:
        return [math.nan if number is None else float(number) for number in column]
    except (TypeError, ValueError, OverflowError):
        raise TypeError(f"the column {name!r} is {column!r:.60}; expected a number or None for each epoch") from None


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return round numbers from `low` to `high`, 1, 2 or 5 times a power of ten apart.

    Examples
    --------
    >>> from fastprop.draw.curves import ticks
    >>> ticks(0.0, 1.0)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    if not high > low:
        return [low]
    rough = (high / most) - (low / most)
    power = 10.0 ** math.floor(math.log10(rough)) if rough > 1e-307 else rough
    step = next((power * times for times in (1, 2, 5) if power * times >= rough), 10 * power)
    if not math.isfinite(step) or step <= 0.0:
        return [low, high]
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{i * step:.12g}") for i in range(first, last + 1)] if last - first < 20 else [low, high]


def _span(numbers: list[float], least: float) -> tuple[float, float]:
    """Return the ends of an axis: a little more than the numbers need, and never nothing."""
    low, high = min(numbers), max(numbers)
    room = 0.05 * (high / 2 - low / 2) * 2 if high > low else max(least, 0.05 * abs(low)) or 1e-3
    ends = low - room, high + room
    return ends if all(map(math.isfinite, ends)) else (low, high)


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return at most so many points that look the same: the lowest and the highest in each stretch."""
    if len(points) <= MOST_POINTS:
        return points
    width = -(-len(points) // (MOST_POINTS // 2))
    kept = []
    for begin in range(0, len(points), width):
        stretch = range(begin, min(begin + width, len(points)))
        ends = {min(stretch, key=lambda i: points[i][1]), max(stretch, key=lambda i: points[i][1])}
        kept += [points[i] for i in sorted(ends)]
    return kept


# ------------------------------------------------------------------------------------------------------- drawing


@dataclass
class Plane:
    """Where numbers are in the picture."""

    top: float
    x: tuple[float, float]
    y: tuple[float, float]

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return the place of a point."""
        return LEFT + WIDTH * _share(x, *self.x), self.top + HEIGHT * (1.0 - _share(y, *self.y))


def _share(number: float, low: float, high: float) -> float:
    span = high / 2 - low / 2  # halves: their difference is finite
    return (number / 2 - low / 2) / span if span > 0.0 else 0.5


def _panel(panel: Panel, y: float, log: bool, best: float | None) -> list[str]:
    """Return the parts of one panel, which begins at height `y`."""
    top = y + TOP
    found = [element("text", shortened(panel.title, 40), x=LEFT, y=top - 12, fill=INK, font_size="13")]
    heights = [number for curve in panel.y for number in curve if not math.isnan(number)]
    if not heights:
        found.append(element("rect", x=LEFT, y=top, width=WIDTH, height=HEIGHT, fill="none", stroke=PALE))
        middle = {"x": LEFT + WIDTH / 2, "y": top + HEIGHT / 2, "text_anchor": "middle"}
        found.append(element("text", "no data", **middle, fill=GREY))
        return found + _left_out(panel, top)
    along = [x for curve in panel.x for x in curve if math.isfinite(x)]
    plane = Plane(top, _span(along, 0.5), _span(heights, 0.5 if log else 0.0))
    found += _axes(plane, min(along), max(along), log)
    if best is not None and min(along) <= best <= max(along):
        x = plane.at(best, heights[0])[0]
        line = {"x1": x, "x2": x, "y1": top, "y2": top + HEIGHT}
        found.append(element("line", **line, stroke=GREY, stroke_dasharray="3 3"))
    for i, (x_curve, y_curve) in enumerate(zip(panel.x, panel.y)):
        found += _curve(plane, x_curve, y_curve, COLOURS[i])
    if best is not None and min(along) <= best <= max(along):
        at, anchor, height = _free_place(panel, plane, x)
        rim = {
            "stroke": "#ffffff",
            "stroke_width": 3,
            "paint_order": "stroke",
        }  # to be read where curves are everywhere
        found.append(element("text", "best", x=at, y=height, text_anchor=anchor, fill=GREY, font_size="11", **rim))
    return found + _legend(panel, top) + _left_out(panel, top)


def _free_place(panel: Panel, plane: Plane, x: float) -> tuple[float, str, float]:
    """Return where "best" is written, beside a line at `x`: lowest of where no curve is near, or farthest from all."""
    sides = [(x + 4, "start", x + 4), (x - 4, "end", x - 4 - BEST)]
    sides = sides[::-1] if x > LEFT + WIDTH / 2 else sides
    found = []
    for at, anchor, left in sides:
        if left >= LEFT and left + BEST <= LEFT + WIDTH:
            heights = _heights(panel, plane, left - 4, left + BEST + 4)
            for k in range(int(HEIGHT / 10) - 1):
                y = plane.top + HEIGHT - 6 - 10 * k
                room = min([max(low - y, y - 9 - high) for low, high in heights], default=math.inf)
                found.append((min(room, 6.0), at, anchor, y))  # with more than 6 around it is free
    _, at, anchor, y = max(found, key=lambda place: place[0])
    return at, anchor, y


def _heights(panel: Panel, plane: Plane, left: float, right: float) -> list[tuple[float, float]]:
    """Return which heights of the plane curves take between two verticals: of each piece, from where to where."""
    found = []
    for xs, ys in zip(panel.x, panel.y):
        points = [plane.at(x, y) if math.isfinite(x) and not math.isnan(y) else None for x, y in zip(xs, ys)]
        for a, b in zip(points, [*points[1:], None]):
            if a is None:
                continue
            (x1, y1), (x2, y2) = sorted((a, b or a))
            if x1 <= right and x2 >= left:
                slope = (y2 - y1) / (x2 - x1) if x2 > x1 else 0.0
                ends = (y1 + slope * (max(x1, left) - x1), y1 + slope * (min(x2, right) - x1)) if x2 > x1 else (y1, y2)
                found.append((min(ends), max(ends)))
    return found


def _axes(plane: Plane, first: float, last: float, log: bool) -> list[str]:
    """Return the frame, and both axes with their ticks."""
    found = []
    bottom = plane.top + HEIGHT
    for number, text in _log_ticks(*plane.y) if log else [(number, written(number)) for number in ticks(*plane.y)]:
        y = plane.at(first, number)[1]
        found.append(element("line", x1=LEFT, x2=LEFT + WIDTH, y1=y, y2=y, stroke="#eaeef2"))
        found.append(element("text", text, x=LEFT - 8, y=y + 4, fill=GREY, font_size="11", text_anchor="end"))
    whole = [number for number in ticks(first, last, 10) if number == round(number)] or [first]
    for number in whole:
        x = plane.at(number, plane.y[0])[0]
        found.append(element("line", x1=x, x2=x, y1=bottom, y2=bottom + 4, stroke=GREY))
        text = f"{number:.0f}" if abs(number) < 1e6 else written(number)
        found.append(element("text", text, x=x, y=bottom + 17, fill=GREY, font_size="11", text_anchor="middle"))
    middle = {"x": LEFT + WIDTH / 2, "y": bottom + 33, "text_anchor": "middle"}
    found.append(element("text", "epoch", **middle, fill=GREY, font_size="11"))
    found.append(element("rect", x=LEFT, y=plane.top, width=WIDTH, height=HEIGHT, fill="none", stroke=PALE))
    return found


def _log_ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Return places of a logarithmic axis, and what is written there: powers of ten, or 1, 2 and 5 times them."""
    powers = range(math.floor(low), math.ceil(high) + 1)
    step = -(-len(powers) // 8)
    times = (1,) if len(powers) > 4 else (1, 2, 5)
    found = [(power + math.log10(k), f"{k}e{power}") for power in powers if power % step == 0 for k in times]
    found = [(at, f"{float(text):.4g}") for at, text in found if low <= at <= high]
    return found or [(low, written(10.0**low)), (high, written(10.0**high))]


def _curve(plane: Plane, x: Sequence[float], y: Sequence[float], colour: str) -> list[str]:
    """Return one curve: a line for each stretch without a gap, points where there are few."""
    stretches: list[list[tuple[float, float]]] = [[]]
    for along, height in zip(x, y):
        if math.isnan(height) or not math.isfinite(along):
            stretches.append([])
        else:
            stretches[-1].append(plane.at(along, height))
    found = []
    few = sum(map(len, stretches)) <= 40
    for stretch in filter(None, stretches):
        points = _thinned(stretch)
        if len(points) > 1:
            text = " ".join(f"{place(a)},{place(b)}" for a, b in points)
            found.append(f'<polyline points="{text}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        if few or len(points) == 1:
            found += [element("circle", cx=a, cy=b, r=2.2, fill=colour) for a, b in points]
    return found


def _legend(panel: Panel, top: float) -> list[str]:
    found, right = [], LEFT + WIDTH
    for i in reversed(range(len(panel.names))):
        right -= width_of(panel.names[i])
        found.append(element("text", panel.names[i], x=right, y=top - 12, fill=INK))
        line = {"x1": right - 22, "x2": right - 6, "y1": top - 16, "y2": top - 16}
        found.append(element("line", **line, stroke=COLOURS[i], stroke_width="2.5"))
        right -= 36
    return found


def _left_out(panel: Panel, top: float) -> list[str]:
    if not panel.left_out:
        return []
    text = f"{panel.left_out} not above 0, left out"
    at = {"x": LEFT + WIDTH, "y": top + HEIGHT + 33, "text_anchor": "end"}
    return [f"<g><title>{escaped(text)}</title>{element('text', text, **at, fill=GREY, font_size='11')}</g>"]
