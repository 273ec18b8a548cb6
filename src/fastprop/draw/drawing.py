"""A diagram as SVG."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fastprop.draw.diagram import Box, Diagram
from fastprop.draw.layout import Layout, lay_out
from fastprop.draw.svg import GREEN, GREY, INK, RED, SIZE, document, element, escaped, place, width_of

__all__ = ["Marks", "svg_of"]

RADIUS = 14.0
LINE = 15.0  # from one line of text to the next
MARGIN = 14.0
GAP = 36.0  # between two columns, for wires
PASSING = 18.0  # room of a wire that passes a column
TEXTS = 40.0  # room of a wire with texts above and below
WIRE = "#8c959f"


@dataclass
class Marks:
    """Attributes for a script, of every box, and of the texts on its wire."""

    boxes: list[str]
    values: list[str]
    gradients: list[str]


@dataclass
class Body:
    """What a box looks like: half its width, its height, how far it reaches to the left, and its stub of a wire."""

    half: float
    height: float
    before: float
    stub: float
    room: float


def _body(box: Box) -> Body:
    widest = max(width_of(box.value), width_of(box.gradient))
    stub = widest + 12 if widest else 16.0
    text = max(map(width_of, box.lines), default=0.0)
    above = LINE if box.name else 0.0
    if box.shape == "source":
        return Body(2.5, 5.0, text + 9 if text else 3.0, stub, TEXTS)
    if box.shape == "gate":
        half = RADIUS if width_of(box.lines[0], SIZE + 2) < 2 * RADIUS - 5 else text / 2 + 8
        before = max(half, width_of(box.name, 11) / 2)
        return Body(half, 2 * RADIUS, before, stub, max(2 * RADIUS + 10, TEXTS) + 2 * above)
    half = max(text, width_of(box.name, 11)) / 2 + 8
    height = LINE * len(box.lines) + 10
    return Body(half, height, half, stub, max(height, TEXTS) + 12 + 2 * above)


class _Drawing:
    """A diagram with the places of its parts."""

    def __init__(self, diagram: Diagram, marks: Marks | None):
        self.diagram, self.marks, self.boxes = diagram, marks, diagram.boxes
        self.bodies = [_body(box) for box in self.boxes]
        rooms = [body.room for body in self.bodies]
        self.layout: Layout = lay_out([box.rank for box in self.boxes], diagram.wires, rooms, PASSING)
        self.y = [MARGIN + y for y in self.layout.y]
        self.left: list[float] = []  # of each column: where it begins, the middle of its boxes, and where it ends
        self.middle: list[float] = []
        self.right: list[float] = []
        wires = [0] * (len(self.layout.columns) + 1)  # that arrive in the next column
        for _, target in diagram.wires:
            wires[self.boxes[target].rank - 1] += 1
        x = MARGIN
        for column in self.layout.columns:
            bodies = [self.bodies[i] for i in column if i < len(self.boxes)]
            self.left.append(x)
            self.middle.append(x + max((body.before for body in bodies), default=0.0))
            self.right.append(self.middle[-1] + max((body.half + body.stub for body in bodies), default=0.0))
            x = self.right[-1] + GAP + min(1.5 * wires[len(self.right) - 1], 48.0)
        end = self.right[-1] if self.right else 90.0
        self.width = max(end + MARGIN, 2 * MARGIN + width_of(diagram.caption, 11))
        all_rooms = [*rooms, *[PASSING] * (len(self.y) - len(rooms))]
        self.bottom = max((y + room / 2 for y, room in zip(self.y, all_rooms)), default=MARGIN + LINE)
        self.height = self.bottom + MARGIN + (LINE if diagram.caption else 0.0)

    def parts(self) -> list[str]:
        if not self.boxes:
            return [element("text", "nothing to draw", x=MARGIN, y=MARGIN + SIZE, fill=GREY)]
        paths, heads = self._trunks()
        more, ends = self._branches()
        found = [f'<g fill="none" stroke="{WIRE}" stroke-width="1.2">', *paths, *more, "</g>"]
        found.append(f'<path d="{"".join([*heads, *ends])}" fill="{WIRE}"/>')
        found += [self._box(i) for i in range(len(self.boxes))]
        if self.diagram.caption:
            found.append(element("text", self.diagram.caption, x=MARGIN, y=self.height - 9, fill=GREY, font_size="11"))
        return found

    def _trunks(self) -> tuple[list[str], list[str]]:
        """Return the wire of each box, through all columns that it passes; the heads of the results'."""
        paths, heads = [], []
        for i, box in enumerate(self.boxes):
            path = _start(self.middle[box.rank] + self.bodies[i].half, self.y[i]) + f"H{place(self.right[box.rank])}"
            x, y = self.right[box.rank], self.y[i]
            for passed in self.layout.chains[i]:
                column = self.layout.rank[passed]
                path += _bend(x, y, self.left[column], self.y[passed]) + f"H{place(self.right[column])}"
                x, y = self.right[column], self.y[passed]
            paths.append(f'<path d="{path}"/>')
            if i in self.diagram.outputs:
                heads.append(_head(self.right[box.rank] + 5, self.y[i]))
        return paths, heads

    def _branches(self) -> tuple[list[str], list[str]]:
        """Return what leads from the wires to the boxes that use them, and its heads."""
        paths, heads = [], []
        for (source, target), port in zip(self.diagram.wires, self.layout.ports):
            steps = self.boxes[target].rank - self.boxes[source].rank - 1
            last = self.layout.chains[source][steps - 1] if steps > 0 else source
            x, y = self._entry(target, port)
            begin = self.right[self.layout.rank[last]]
            left = self.left[self.boxes[target].rank]  # from here on level, beside the names in this column
            path = f'<path d="{_start(begin, self.y[last])}{_bend(begin, self.y[last], left, y)}H{place(x - 5)}"/>'
            count = self.diagram.counts.get((source, target))
            paths.append(path if count is None else f"<g><title>{count:,} × wire</title>{path}</g>")
            heads.append(_head(x, y))
        return paths, heads

    def _entry(self, target: int, port: float) -> tuple[float, float]:
        """Return where a wire arrives."""
        body, x, y = self.bodies[target], self.middle[self.boxes[target].rank], self.y[target]
        if self.boxes[target].shape == "group":
            return x - body.half, y + port * 0.4 * body.height
        shift = port * 0.7 * RADIUS
        corner = RADIUS - math.sqrt(RADIUS**2 - shift**2)
        return x - body.half + corner, y + shift

    def _box(self, i: int) -> str:
        box, body, x, y = self.boxes[i], self.bodies[i], self.middle[self.boxes[i].rank], self.y[i]
        found = [f"<g{self.marks.boxes[i] if self.marks else ''}>", f"<title>{escaped(box.title)}</title>"]
        if box.shape == "source":
            found.append(element("circle", cx=x, cy=y, r=2.5, fill=INK))
            if box.lines[0]:
                found.append(element("text", box.lines[0], x=x - 7, y=y + 4, text_anchor="end", fill=INK))
        else:
            corner = RADIUS if box.shape == "gate" else 4
            size = {"width": 2 * body.half, "height": body.height, "rx": corner}
            found.append(element("rect", x=x - body.half, y=y - body.height / 2, **size, fill="#f6f8fa", stroke=INK))
            found += _lines(box, x, y, body)
        if box.name:
            above = y - body.height / 2 - 5
            found.append(element("text", box.name, x=x, y=above, text_anchor="middle", fill=GREY, font_size="11"))
        at = place(x + body.half + 6)
        value, gradient = (self.marks.values[i], self.marks.gradients[i]) if self.marks else ("", "")
        if box.value:
            found.append(f'<text x="{at}" y="{place(y - 5)}" fill="{GREEN}"{value}>{escaped(box.value)}</text>')
        if box.gradient:
            found.append(f'<text x="{at}" y="{place(y + 14)}" fill="{RED}"{gradient}>{escaped(box.gradient)}</text>')
        return "".join([*found, "</g>"])


def _lines(box: Box, x: float, y: float, body: Body) -> list[str]:
    """Return the text in a box."""
    if len(box.lines) == 1:
        size = str(SIZE + 2 if body.half == RADIUS else SIZE)
        return [element("text", box.lines[0], x=x, y=y + 4.5, text_anchor="middle", fill=INK, font_size=size)]
    top = y - LINE * (len(box.lines) - 1) / 2 + 4
    return [element("text", line, x=x - body.half + 8, y=top + i * LINE, fill=INK) for i, line in enumerate(box.lines)]


def _start(x: float, y: float) -> str:
    return f"M{place(x)} {place(y)}"


def _bend(x: float, y: float, end_x: float, end_y: float) -> str:
    """Return a wire from where the path is to a point, level at both ends."""
    if abs(end_y - y) < 0.05:
        return f"H{place(end_x)}"
    half = place((x + end_x) / 2)
    return f"C{half} {place(y)} {half} {place(end_y)} {place(end_x)} {place(end_y)}"


def _head(x: float, y: float) -> str:
    return f"M{place(x)} {place(y)}l-6 -3.5v7z"


def svg_of(diagram: Diagram, marks: Marks | None = None) -> str:
    """Return the SVG of a diagram."""
    drawing = _Drawing(diagram, marks)
    label = f"circuit, {diagram.caption}" if diagram.caption else "circuit"
    return document(drawing.width, drawing.height, label, drawing.parts())
