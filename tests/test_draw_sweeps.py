"""The page whose slider steps both sweeps: when everything appears, and that it stands by itself."""

import html
import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET

import pytest

import fastprop as fp
from fastprop import draw

NODE = [shutil.which("node")] if shutil.which("node") else []

# What a script needs of a browser, and the steps that it shall show: which texts stand there, which box is lit.
BROWSER = """
const fs = require("fs"), given = JSON.parse(fs.readFileSync(0, "utf8"));
function thing(attributes, title) {
  const classes = new Set();
  return {
    dataset: attributes, classes, value: "0", textContent: "", addEventListener() {},
    classList: { toggle(name, on) { on ? classes.add(name) : classes.delete(name); } },
    querySelector() { return { textContent: title }; },
  };
}
const known = {}, texts = given.texts.map(at => thing({ at }));
const boxes = given.boxes.map(([forward, backward, title]) => thing({ forward, backward }, title));
global.location = { hash: "" };
global.document = {
  getElementById(name) { return known[name] ??= thing({}); },
  querySelectorAll(selector) { return selector === "[data-at]" ? texts : boxes; },
};
const show = new Function(given.script + "; return show;")();
const seen = [];
for (let step = 0; step <= given.last; step++) {
  known.step.value = String(step);
  show();
  seen.push([
    texts.map(text => !text.classes.has("ahead")), boxes.map(box => [...box.classes].join()), known.said.textContent,
  ]);
}
console.log(JSON.stringify(seen));
"""


def example():
    """(x + y) * x, in which x is used twice."""
    x, y = fp.Unit(-2.0, name="x"), fp.Unit(5.0, name="y")
    return (x + y) * x


def parts(page):
    """The page's picture, its script, and its last step."""
    svg = re.search("<svg.*</svg>", page.html, re.DOTALL)[0]
    script = re.search("<script>(.*)</script>", page.html, re.DOTALL)[1]
    return ET.fromstring(svg), script, int(re.search('max="([0-9]+)"', page.html)[1])


def appearing(page):
    """At which step each text appears, by the tip of its box and its colour."""
    found = {}
    for group in parts(page)[0].iter("{http://www.w3.org/2000/svg}g"):
        for text in group.findall("{http://www.w3.org/2000/svg}text"):
            if text.get("data-at"):
                found[group[0].text.split("\n")[0], text.text] = int(text.get("data-at"))
    return found


def test_values_appear_then_gradients_flow_back():
    page = draw.sweeps(example())
    assert parts(page)[2] == 5
    assert appearing(page) == {
        ("leaf x", "-2"): 0,
        ("leaf y", "5"): 0,
        ("add", "3"): 1,
        ("multiply", "-6"): 2,
        ("multiply", "1"): 3,  # the pull on the result
        ("add", "-2"): 4,
        ("leaf y", "-2"): 5,
        ("leaf x", "1"): 5,  # when both gates that use it have pulled
    }


def test_a_pull_that_was_there_is_kept():
    f = example()
    f.backward(10.0)
    assert ("multiply", "10") in appearing(draw.sweeps(f))
    assert ("multiply", "0.5") in appearing(draw.sweeps(f, pull=0.5))


def test_a_function_and_a_circuit():
    def function(x):
        return fp.exp(x) * 3.0

    page = draw.sweeps(function, 0.0)
    assert appearing(page)[("multiply", "3")] == 2
    assert appearing(page)[("multiply", "1")] == 3
    assert draw.sweeps(fp.trace(function, 0.0), 0.0).html == page.html


def test_a_folded_circuit_steps_box_by_box():
    x = fp.Unit(1.0)
    f = fp.sum([x * float(i) for i in range(500)])
    assert appearing(draw.sweeps(f))[("multiply × 500", "0…499")] == 1


def test_the_page_stands_by_itself():
    text = draw.sweeps(example()).html
    assert not re.search(r"src=|href=|@import|url\(|fetch\(|import ", text)
    assert re.findall("https?://[^\"']*", text) == ["http://www.w3.org/2000/svg"]
    assert draw.sweeps(example()).html == text


def test_a_notebook_shows_it_in_a_frame():
    page = draw.sweeps(example())
    assert html.unescape(re.search('^<iframe srcdoc="([^"]*)"', page._repr_html_())[1]) == page.html


@pytest.mark.parametrize("node", NODE)
def test_the_script_runs(node):
    page = draw.sweeps(example())
    root, script, last = parts(page)
    texts = [text.get("data-at") for text in root.iter() if text.get("data-at")]
    boxes = [(g.get("data-forward"), g.get("data-backward"), g[0].text) for g in root.iter() if g.get("data-forward")]
    given = json.dumps({"script": script, "texts": texts, "boxes": boxes, "last": last})
    done = subprocess.run([node, "-e", BROWSER], input=given, capture_output=True, text=True, check=True)
    seen = json.loads(done.stdout)
    for step, (shown, lit, _) in enumerate(seen):
        assert shown == [int(at) <= step for at in texts]
        assert lit == [
            "forward" if int(forward) == step else "backward" if int(backward) == step else ""
            for forward, backward, _ in boxes
        ]
    assert [said for _, _, said in seen] == [
        "The inputs. Forward, gate by gate: values.",
        "Forward, 1 of 2: add",
        "Forward, 2 of 2: multiply",
        "Backward: a pull on the result.",
        "Backward, 1 of 2: multiply pulls on its operands",
        "Backward, 2 of 2: add pulls on its operands",
    ]
