"""What all pictures are made of: numbers and texts as SVG has them, and the picture that one gets."""

from __future__ import annotations

import html
import os
import re
import unicodedata
from pathlib import Path
from typing import Any

from fastprop.hints import Hinted

__all__ = ["Picture", "element", "escaped", "place", "shortened", "width_of", "written"]

GREEN, RED, INK, GREY, PALE = "#1a7f37", "#cf222e", "#24292f", "#6e7781", "#d0d7de"
FONT = "DejaVu Sans Mono, Menlo, Consolas, monospace"
SIZE = 12  # of most texts, in pixels
ADVANCE = 0.61  # how wide a character is, in font sizes

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def escaped(text: str) -> str:
    """Return a text as it stands in XML, in attributes too; U+FFFD for characters that XML does not have.

    Examples
    --------
    >>> from fastprop.draw.svg import escaped
    >>> escaped('<a & "b">')
    '&lt;a &amp; &quot;b&quot;&gt;'
    """
    return html.escape(_NOT_XML.sub("\ufffd", text))


def written(number: float) -> str:
    """Return a number with four significant digits, whatever the locale.

    Examples
    --------
    >>> from fastprop.draw.svg import written
    >>> [written(x) for x in (-12.0, 0.7310585, -0.0, float("inf"))]
    ['-12', '0.7311', '-0', 'inf']
    """
    return format(float(number), ".4g")


def place(number: float) -> str:
    """Return a coordinate, to a tenth of a pixel."""
    text = f"{number:.1f}"
    return text[:-2] if text.endswith(".0") else text


def width_of(text: str, size: float = SIZE) -> float:
    """Return about how wide a text is, in pixels."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return (len(text) + wide) * ADVANCE * size


def shortened(text: str, most: int = 24) -> str:
    """Return a text of one line with at most so many characters."""
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 1] + "…"


def element(tag: str, text: str | None = None, /, **attributes: Any) -> str:
    """Return an SVG element; underscores in attributes stand for hyphens, numbers are coordinates.

    Examples
    --------
    >>> from fastprop.draw.svg import element
    >>> element("text", "a < b", x=1.25, text_anchor="end")
    '<text x="1.2" text-anchor="end">a &lt; b</text>'
    """
    given = "".join(
        f' {name.replace("_", "-")}="{place(x) if isinstance(x, (int, float)) else escaped(x)}"'
        for name, x in attributes.items()
    )
    return f"<{tag}{given}/>" if text is None else f"<{tag}{given}>{escaped(text)}</{tag}>"


def document(width: float, height: float, label: str, parts: list[str]) -> str:
    """Return a whole SVG: a white page, so that it can be read in dark notebooks too, with these parts on it.

    It has no ids and no style sheet, so that many pictures can stand on one page.
    """
    size = f"{place(width)} {place(height)}"
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{place(width)}" height="{place(height)}" viewBox="0 0 {size}" '
        f'role="img" aria-label="{escaped(label)}" font-family="{FONT}" font-size="{SIZE}">'
    )
    page = element("rect", width=width, height=height, fill="#ffffff")
    return "\n".join([head, page, *parts, "</svg>"]) + "\n"


def checked_suffix(path: str | os.PathLike[str], *suffixes: str) -> None:
    """Raise ValueError if a file is named as what it will not be."""
    suffix = Path(path).suffix.lower()
    if suffix and suffix not in suffixes:
        raise ValueError(f"{os.fspath(path)!r} ends in {suffix}, but what is written is {suffixes[0]}; name it so")


class Picture(Hinted):
    """A picture as SVG: a notebook shows it, `save` writes it to a file.

    Attributes
    ----------
    svg : str
        The whole of it, self-contained; the same input gives the same characters.
    """

    def __init__(self, svg: str):
        self.svg = svg

    def _repr_svg_(self) -> str:
        return self.svg

    def __repr__(self) -> str:
        return f"<Picture: {len(self.svg.encode())} bytes of SVG>"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to a file.

        Parameters
        ----------
        path : str or path
            The file, as ``circuit.svg``; it is overwritten.

        Raises
        ------
        ValueError
            If the file is named like another kind of picture.
        """
        checked_suffix(path, ".svg")
        Path(path).write_text(self.svg, encoding="utf-8", newline="\n")
