"""The two sweeps, step by step: one page of HTML with a slider, which needs nothing else."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from fastprop.draw.circuit import MOST, checked_most, wires_of
from fastprop.draw.diagram import Diagram, diagram_of
from fastprop.draw.drawing import Marks, svg_of
from fastprop.draw.svg import checked_suffix, escaped

__all__ = ["Page", "sweeps"]

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font: 14px system-ui, sans-serif; color: #24292f; background: #ffffff; margin: 16px; }}
nav {{ display: flex; align-items: center; gap: 8px; position: sticky; top: 0; background: #ffffff; padding: 8px 0; }}
nav input {{ flex: 1; max-width: 480px; }}
button {{ font: inherit; min-width: 36px; padding: 2px 8px; }}
p {{ margin: 4px 0 12px; min-height: 1.4em; }}
main {{ overflow-x: auto; }}
.ahead {{ visibility: hidden; }}
.forward rect {{ stroke: #1a7f37; stroke-width: 2.5; fill: #dafbe1; }}
.backward rect {{ stroke: #cf222e; stroke-width: 2.5; fill: #ffebe9; }}
</style>
</head>
<body>
<nav>
<button id="back" aria-label="one step back">&#9664;</button>
<input id="step" type="range" min="0" max="{last}" value="0" aria-label="step">
<button id="on" aria-label="one step on">&#9654;</button>
<button id="play">play</button>
</nav>
<p id="said" aria-live="polite"></p>
<main>
{svg}</main>
<script>
"use strict";
const gates = {gates}, last = {last}, at = name => document.getElementById(name);
const texts = [...document.querySelectorAll("[data-at]")], boxes = [...document.querySelectorAll("[data-forward]")];
function told(step) {{
  if (step === 0) return "The inputs. " + (gates ? "Forward, gate by gate: values." : "There are no gates.");
  if (step === gates + 1) return "Backward: a pull on the result.";
  const name = step <= gates ? "forward" : "backward";
  const box = boxes.find(found => Number(found.dataset[name]) === step);
  const what = box ? box.querySelector("title").textContent.split("\\n")[0] : "";
  if (step <= gates) return "Forward, " + step + " of " + gates + ": " + what;
  return "Backward, " + (step - gates - 1) + " of " + gates + ": " + what + " pulls on its operands";
}}
function show() {{
  const step = Number(at("step").value);
  for (const text of texts) text.classList.toggle("ahead", Number(text.dataset.at) > step);
  for (const box of boxes) {{
    box.classList.toggle("forward", Number(box.dataset.forward) === step);
    box.classList.toggle("backward", Number(box.dataset.backward) === step);
  }}
  at("said").textContent = told(step);
}}
function move(by) {{
  at("step").value = Number(at("step").value) + by;
  show();
}}
let timer = null;
function stop() {{
  clearInterval(timer);
  timer = null;
  at("play").textContent = "play";
}}
function play() {{
  if (timer !== null) return stop();
  if (Number(at("step").value) === last) at("step").value = 0;
  at("play").textContent = "stop";
  timer = setInterval(() => Number(at("step").value) < last ? move(1) : stop(), 700);
}}
at("step").addEventListener("input", show);
at("back").addEventListener("click", () => move(-1));
at("on").addEventListener("click", () => move(1));
at("play").addEventListener("click", play);
const asked = Number(location.hash.slice(1));
if (asked > 0) at("step").value = asked;
show();
</script>
</body>
</html>
"""


class Page:
    """A page of HTML: a notebook shows it in a frame, `save` writes it to a file, any browser opens that.

    Attributes
    ----------
    html : str
        The whole of it: one file, with its style and its script; nothing is loaded from anywhere.
    """

    def __init__(self, html: str):
        self.html = html

    def _repr_html_(self) -> str:
        return f'<iframe srcdoc="{escaped(self.html)}" width="100%" height="480" style="border: 0"></iframe>'

    def __repr__(self) -> str:
        return f"<Page: {len(self.html.encode())} bytes of HTML>"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to a file.

        Parameters
        ----------
        path : str or path
            The file, as ``sweeps.html``; it is overwritten.

        Raises
        ------
        ValueError
            If the file is named like another kind of page.
        """
        checked_suffix(path, ".html", ".htm")
        Path(path).write_text(self.html, encoding="utf-8", newline="\n")


def sweeps(x: Any, *args: Any, pull: Any = None, most: int = MOST) -> Page:
    """Draw a circuit as a page whose slider steps the forward sweep, then the backward sweep, gate by gate.

    Values appear gate by gate; then the pull on the result, and the gradients that flow back. A wire's gradient appears
    when everything that uses it has pulled. The address ends in ``#5`` to open the page at step 5.

    Parameters
    ----------
    x, *args, pull, most
        As `circuit` has them, but without a pull there is one of 1.0 on a Unit that no sweep has reached.

    Returns
    -------
    Page
        It has `html` and `save`; notebooks show it.

    Examples
    --------
    >>> import fastprop as fp
    >>> page = fp.draw.sweeps(lambda x, y: x * y + x, 3.0, 2.0)
    >>> page.html.count('data-forward="')
    2
    """
    diagram = diagram_of(wires_of(x, args, pull, always=True), checked_most(most))
    marks, gates, last = _marked(diagram)
    svg = svg_of(diagram, marks)
    return Page(PAGE.format(title=escaped(f"sweeps: {diagram.caption}"), svg=svg, gates=gates, last=last))


def _marked(diagram: Diagram) -> tuple[Marks, int, int]:
    """Return the step at which every part appears, how many gates run, and the last step."""
    runs = [i for i, box in enumerate(diagram.boxes) if box.runs]
    order = {i: k for k, i in enumerate(runs, 1)}
    gates, swept = len(runs), any(box.gradient for box in diagram.boxes)
    pulls = {i: 2 * gates + 2 - k for i, k in order.items()}  # when a gate pulls on its operands
    arrives = [gates + 1] * len(diagram.boxes)
    for source, target in diagram.wires:
        arrives[source] = max(arrives[source], pulls.get(target, 0))
    boxes = ["" for _ in arrives]
    for i, k in order.items():
        boxes[i] = f' data-forward="{k}" data-backward="{pulls[i]}"'
    values = [f' data-at="{order.get(i, 0)}"' for i in range(len(boxes))]
    return Marks(boxes, values, [f' data-at="{step}"' for step in arrives]), gates, 2 * gates + 1 if swept else gates
