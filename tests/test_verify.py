"""What is wrong with a draft or a program is found before it is followed, and said."""

import pickle
import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastprop as fp
from fastprop.circuits.pipeline import PASSES
from fastprop.engine.program import Program, Region, assemble, verify_program
from fastprop.engine.trace import NAMES, Draft, hoist, is_verifying, let_verify, number, schedule, verify
from programs import OPCODES, Sketch, at_point, optimised, ordered
from test_passes import INPUTS, RandomDraft, points, steps

FIELDS = ("constants", "opcode", "first", "operand", "origin", "outputs", "guards", "expected", "run")
ADD, SIN, REGION, RESULT = (OPCODES[name] for name in ("add", "sin", "region", "result"))


def parts(**changed):
    """Return what a draft is made of: two inputs, a constant, sin(0), 0 + 1, a region of two numbers, 2 < 3."""
    found = {
        "inputs": 2,
        "constants": [0.5],
        "opcode": [SIN, ADD, REGION, RESULT, OPCODES["less"]],
        "first": [0, 1, 3, 6, 7, 9],
        "operand": [0, 0, -1, 2, 3, 1, 4, 2, 3],
        "origin": [0, 1, 2, 3, 4],
        "outputs": [4, 5, -1],
        "guards": [6],
        "expected": [1],
        "run": [0, 1, 2, 4, 5],
        "payload": {2: Region(2)},
    }
    return found | changed


def changed(name, place, value):
    """Return what a draft is made of with another number at one place."""
    numbers = parts()[name].copy()
    numbers[place] = value
    return parts(**{name: numbers})


WRONG = {
    "a later gate": (changed("operand", 1, 4), r"gate 1 (add) reads gate 2, which comes after it"),
    "itself": (changed("operand", 2, 3), r"gate 1 (add) reads itself; expected an input, an earlier gate"),
    "no gate": (changed("operand", 0, 90), r"gate 0 (sin) reads gate 88; there are 2 inputs, 5 gates and 1 constants"),
    "no constant": (changed("operand", 2, -5), r"gate 1 (add) reads constant 4; there are 2 inputs"),
    "an opcode": (changed("opcode", 0, 99), r"gate 0 has the opcode 99, which there is not"),
    "a step's opcode": (
        changed("opcode", 0, OPCODES["total"] + 1),
        f"gate 0 has the opcode {OPCODES['total'] + 1}, which there is not",
    ),
    "an arity": (changed("opcode", 0, ADD), r"gate 0 (add) has 1 operands; expected 2"),
    "odd pairs": (
        changed("opcode", 0, OPCODES["products"]),
        r"gate 0 (products) has 1 operands; expected one or more p",
    ),
    "odd halves": (changed("opcode", 0, OPCODES["dot"]), r"gate 0 (dot) has 1 operands; expected an even number"),
    "nothing": (
        parts(opcode=[OPCODES["max"]], first=[0, 0], operand=[], origin=[0], run=None, payload={}),
        r"gate 0 (max) has 0 operands; expected one or more",
    ),
    "backwards": (changed("first", 2, 0), r"the operands of gate 1 (add) go from 1 to 0; expected places up to 9"),
    "beyond": (changed("first", 2, 60), r"the operands of gate 1 (add) go from 1 to 60"),
    "the first": (changed("first", 0, 1), r"first goes from 1 to 9; expected 0 to 9"),
    "the last": (changed("first", 5, 8), r"first goes from 0 to 8; expected 0 to 9"),
    "too few": (parts(first=[0, 1, 9]), r"first has 3 numbers; expected 6"),
    "origins": (parts(origin=[]), r"origin has 0 numbers; expected 5"),
    "a table": (parts(operand=[[0]]), r"operand is int32[1, 1]; expected one row of int32"),
    "gaps": (parts(origin=np.arange(10, dtype=np.int32)[::2]), r"origin has gaps"),
    "inputs": (parts(inputs=-1), r"there are -1 inputs"),
    "too many": (parts(inputs=2147483000), r"there are 2147483000 inputs and 5 gates"),
    "another region": (changed("operand", 6, 3), r"gate 3 (result) reads gate 1; expected the region right before it"),
    "no region": (changed("opcode", 1, RESULT), r"gate 1 (result) has 2 operands; expected 1"),
    "far off": (parts(opcode=[SIN, ADD, REGION, SIN, ADD]), None),
    "no payload": (parts(payload={}), r"gate 2 (region) has no payload; expected a Region"),
    "a payload's gate": (
        parts(payload={2: Region(2), 0: Region(0)}),
        r"payload has 0; expected the numbers of regions",
    ),
    "a payload": (parts(payload={2: None}), r"gate 2 (region) has the payload NoneType; expected a Region"),
    "numbers": (parts(payload={2: Region(4)}), r"gate 2 (region) is a function of 4 numbers, and has 3 operands"),
    "fewer numbers": (parts(payload={2: Region(-1)}), r"gate 2 (region) is a function of -1 numbers"),
    "an output": (changed("outputs", 1, 7), r"output 1 is gate 5; there are 2 inputs, 5 gates"),
    "a guard": (changed("guards", 0, -2), r"guard 0 is constant 1; there are"),
    "outcomes": (parts(expected=[]), r"expected has 0 numbers; expected 1"),
    "a run's begin": (changed("run", 0, 1), r"expected numbers that rise from 0 to 5, where runs begin"),
    "an empty run": (changed("run", 1, 2), r"expected numbers that rise from 0 to 5"),
    "a short end": (changed("run", 4, 6), r"expected numbers that rise from 0 to 5"),
    "no end": (parts(run=[]), r"expected numbers that rise from 0 to 5"),
    "two kinds": (parts(run=[0, 2, 4, 5]), r"gate 1 (add) is in the run of gates 0 to 1 (sin); expected gates of one"),
    "a region's run": (parts(run=[0, 1, 2, 3, 5]), r"gate 3 (result) begins the run of gates 3 to 4 (result)"),
    "more than a region": (parts(run=[0, 1, 2, 5]), r"gate 4 (less) is in the run of gates 2 to 4 (region)"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named(name):
    given, message = WRONG[name]
    if message is None:
        message = r"gate 4 (add) reads"
        given = given | {"operand": [0, 0, -1, 2, 3, 1, 4, 2, 90]}
    with pytest.raises(ValueError, match=re.escape(message)):
        Draft(**given)
    right = Draft(**parts())
    assert right.gate(1) == ("add", [0, -1])
    with pytest.raises(ValueError, match=re.escape(message)):
        right.replace(**given)


def run_of(steps, inputs=3):
    sketch = Sketch(inputs)
    for name, *operands in steps:
        sketch.gate(name, *operands)
    return sketch.draft([0], run=[0, len(steps)])


def test_gates_of_a_run_wait_for_none_of_it_unless_it_is_a_chain():
    assert len(run_of([("sin", 0), ("sin", 1)])) == 2
    assert len(run_of([("add", 0, 1), ("add", 3, 2), ("add", 4, 2)])) == 3
    said = (
        r"reads gate 0 in the run of gates 0 to 2 \({}\); expected nothing of the run, or the gate before it \(a chain"
    )
    with pytest.raises(ValueError, match=r"gate 2 \(multiply\) " + said.format("multiply")):
        run_of([("multiply", 0, 1), ("multiply", 3, 2), ("multiply", 3, 2)])
    with pytest.raises(ValueError, match=r"gate 2 \(add\) " + said.format("add")):
        run_of([("add", 0, 1), ("add", 3, 2), ("add", 4, 3)])
    with pytest.raises(ValueError, match=r"gate 1 \(subtract\) " + said.format("subtract")):
        run_of([("subtract", 0, 1), ("subtract", 3, 2), ("subtract", 4, 2)])
    with pytest.raises(
        ValueError, match=r"gate 1 \(total\) has 2 operands in the run of gates 0 to 1 .*; expected one number of them"
    ):
        run_of([("total", 0, 1, 2), ("total", 0, 1)])


def test_a_pickle_is_verified():
    def f(x, y):
        return fp.sin(x) * y + x * y

    draft = fp.trace(f, 1.0, 2.0)._plan.draft
    again = pickle.loads(pickle.dumps(draft))
    assert [again.gate(i) for i in range(len(again))] == [draft.gate(i) for i in range(len(draft))]
    draft.operand[0] = 70
    with pytest.raises(ValueError, match=r"gate 0 \(sin\) reads gate 68"):
        pickle.loads(pickle.dumps(draft))


def test_what_is_assembled_is_verified_even_if_it_was_changed_since():
    for lanes in (False, True):
        draft = RandomDraft([("sin", [1] * 12), ("multiply", [2] * 12)], [0.5] * INPUTS).draft()
        draft.operand[0] = 2000
        with pytest.raises(ValueError, match=r"gate 0 \(sin\) reads gate 1996"):
            assemble(draft, lanes=lanes)
    with pytest.raises(ValueError, match=r"constants is NoneType"):
        assemble(Draft.__new__(Draft))
    with pytest.raises(ValueError, match=r"\(region\) has the payload Fake; expected a Region"):
        assemble(Draft(**parts(payload={2: type("Fake", (), {"numbers": 1})()})))


@pytest.mark.parametrize("name", ["sum", "prod", "mean", "dot"])
def test_gates_that_the_executor_does_not_have_are_not_assembled(name):
    sketch = Sketch(4)
    draft = sketch.draft([sketch.gate(name, 0, 1, 2, 3)])
    with pytest.raises(ValueError, match=rf"gate 0 \({name}\) can't be assembled; expand makes"):
        assemble(draft)
    assert len(at_point(optimised(draft), [1.0, 2.0, 3.0, 4.0], [1.0])[0]) == 1


def test_flags_are_one_for_each_input():
    draft = RandomDraft([("sin", [1] * 12)], [0.5] * INPUTS).draft()
    for name in ("wanted", "uniform"):
        with pytest.raises(ValueError, match=rf"{name} has the shape \(2,\); expected a flag per input, 4"):
            assemble(draft, lanes=True, **{name: np.ones(2, np.uint8)})


def test_number_wants_runs_and_leaves_those_that_are_too_long_for_it():
    sketch = Sketch(1)
    draft = sketch.draft([sketch.gate("sin", 0) for _ in range(5000)])
    with pytest.raises(ValueError, match="number wants a draft whose gates are in runs"):
        number(draft)
    assert len(number(draft.replace(run=[0, 5000])).run) == 2
    assert np.diff(schedule(schedule(draft), 64).run).max() <= 64


@settings(max_examples=60)
@given(steps, points, st.sampled_from([(), ("schedule",), PASSES]))
def test_all_that_is_made_is_right(some_steps, point, passes):
    draft = RandomDraft(some_steps, point).draft()
    made = ordered(optimised(draft, passes), passes)
    for some in (draft, made, *hoist(draft, np.arange(INPUTS) % 2)):
        verify(some)
    for lanes in (False, True):
        for gradient in (False, True):
            verify_program(assemble(made, lanes=lanes, gradient=gradient))


def corrupted(draft, name, place, value):
    """Return what a draft is made of, with one number changed."""
    found = {part: getattr(draft, part) for part in FIELDS} | {"inputs": draft.inputs, "payload": dict(draft.payload)}
    if found[name] is not None and len(found[name]):
        array = found[name].copy()
        array[place % len(array)] = value % 256 if array.dtype == np.uint8 else value
        found[name] = array
    return found


@settings(max_examples=200)
@given(steps, points, st.booleans(), st.sampled_from(FIELDS), st.integers(0, 10**6), st.integers(-(2**31), 2**31 - 1))
def test_a_number_that_is_changed_makes_no_draft_or_one_that_is_right(some_steps, point, runs, name, place, value):
    draft = optimised(RandomDraft(some_steps, point).draft())
    given = corrupted(schedule(draft) if runs else draft, name, place, value if place % 2 else value % 64)
    try:
        made = Draft(**given)
        programs = [assemble(made), assemble(made, lanes=True)]
    except ValueError:
        return
    for i in range(len(made)):
        assert made.gate(i)[0] in NAMES.values()
    for program in programs:
        verify_program(program)


CRASHES = """
import random, sys
import numpy as np
sys.path[:0] = [{tests!r}]
from fastprop.engine.trace import Draft, let_verify, schedule
from fastprop.engine.program import assemble
from programs import at_point, optimised
from test_passes import INPUTS, NAMES, RandomDraft
from test_verify import FIELDS, corrupted
let_verify(False)
generator = random.Random(7)
refused = 0
for attempt in range(600):
    steps = [(generator.choice(NAMES), [generator.randrange(10**4) for _ in range(12)]) for _ in range(30)]
    draft = optimised(RandomDraft(steps, [0.5, 1.5, 1.0, 0.25]).draft())
    draft = schedule(draft) if attempt % 2 else draft
    value = generator.choice([generator.randrange(-40, 80), generator.randrange(-2**31, 2**31)])
    given = corrupted(draft, generator.choice(FIELDS), generator.randrange(10**6), value)
    try:
        made = Draft(**given)
        at_point(made, [0.5] * INPUTS, [1.0] * len(made.outputs))
        assemble(made, lanes=True)
    except ValueError:
        refused += 1
print(refused)
"""


def test_nothing_crashes_where_nothing_else_is_verified():
    program = CRASHES.format(tests=str(__file__).rpartition("/")[0])
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 100


# Programs


def small_program():
    sketch = Sketch(2)
    product = sketch.gate("multiply", 0, 1)
    return assemble(sketch.draft([product], [sketch.gate("less", 0, 1)], [True]))


@pytest.mark.parametrize(
    ("name", "value", "said"), [("outputs", 90, "output"), ("guards", -1, "guard"), ("seeds", 90, "seed")]
)
def test_places_of_a_program_are_slots(name, value, said):
    program = small_program()
    verify_program(program)
    getattr(program, name)[0] = value
    with pytest.raises(ValueError, match=rf"{said} 0 is slot {value}, there are {program.slots}"):
        verify_program(program)


def test_regions_of_a_program_are_there_and_their_operands_are_slots():
    program = assemble(Draft(**parts()))
    verify_program(program)
    for array in (program.regions[0].operands, program.regions[0].targets):
        before, array[0] = array[0], 9000
        with pytest.raises(ValueError, match=r"operand 0 of region 0 is outside of the program"):
            verify_program(program)
        array[0] = before
    program.regions.clear()
    with pytest.raises(ValueError, match=r"instruction \d forward \(region\) is region 0, there are 0"):
        verify_program(program)


def test_an_empty_program_is_not_right():
    with pytest.raises(ValueError, match="an empty program can't be run; assemble makes one"):
        verify_program(Program())


def test_what_passes_make_is_verified_if_that_is_wanted():
    assert is_verifying()  # in all tests
    draft = RandomDraft([("sin", [1] * 12)], [0.5] * INPUTS).draft()
    draft.outputs[0] = 5000
    with pytest.raises(ValueError, match="output 0 is gate 4996"):
        schedule(draft.replace())
    before = let_verify(False)
    assert before and not is_verifying()
    let_verify(before)
    assert is_verifying()
