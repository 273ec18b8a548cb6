"""Where the boxes of a diagram stand: in columns by depth, with few crossings, and wires as straight as they can be.

The manner of Sugiyama, Tagawa and Toda (1981): a wire that passes columns has a place in each of them; the order in a
column follows the barycentres of the neighbours; then all places move towards their neighbours, as far as the order and
the distances allow it. A source has one wire, from which those to its targets branch off.
"""

from __future__ import annotations

import itertools
from bisect import bisect, insort
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Layout", "lay_out"]

ROUNDS = 8


@dataclass
class Layout:
    """Where everything is.

    `y` is the height of each box, and behind these of the places where wires pass a column; `chains` are, for each
    source, those places, one for each column that its wire passes; `ports` how much higher or lower than the target's
    middle each wire arrives, between -1 and 1.
    """

    y: list[float]
    rank: list[int]
    chains: list[list[int]]
    ports: list[float]
    columns: list[list[int]]


def lay_out(
    rank: Sequence[int], wires: Sequence[tuple[int, int]], heights: Sequence[float], pass_height: float
) -> Layout:
    """Lay boxes out.

    Parameters
    ----------
    rank : sequence of int
        The column of each box; wires lead to columns further on.
    wires : sequence of (int, int)
        From which box to which, for each box in the order of its operands.
    heights : sequence of float
        How much room each box takes in its column.
    pass_height : float
        And a wire that passes.
    """
    ranks, chains = list(rank), [[] for _ in rank]  # type: list[int], list[list[int]]
    rooms = list(heights)
    farthest = list(rank)
    for source, target in wires:
        farthest[source] = max(farthest[source], rank[target])
    for source in range(len(rank)):
        for column in range(rank[source] + 1, farthest[source]):
            chains[source].append(len(ranks))
            ranks.append(column)
            rooms.append(pass_height)
    ports = _ports(len(rank), wires)
    before, after = _neighbours(ranks, chains, wires, ports)
    columns: list[list[int]] = [[] for _ in range(max(ranks, default=-1) + 1)]
    for box, column in enumerate(ranks):
        columns[column].append(box)
    columns = _ordered(columns, before, after)
    y = _heights(columns, before, after, rooms)
    return Layout(y, ranks, chains, ports, columns)


def _ports(boxes: int, wires: Sequence[tuple[int, int]]) -> list[float]:
    """Return where each wire arrives at its target: operands from the top downwards."""
    counts, seen, ports = [0] * boxes, [0] * boxes, []
    for _, target in wires:
        counts[target] += 1
    for _, target in wires:
        ports.append((2 * seen[target] + 1) / counts[target] - 1.0)
        seen[target] += 1
    return ports


Neighbours = list[list[tuple[int, float]]]


def _neighbours(
    ranks: list[int], chains: list[list[int]], wires: Sequence[tuple[int, int]], ports: list[float]
) -> tuple[Neighbours, Neighbours]:
    """Return for every place those in the columns before and behind to which a wire leads, and its port there."""
    before: Neighbours = [[] for _ in ranks]
    after: Neighbours = [[] for _ in ranks]

    def join(left: int, right: int, port: float) -> None:
        before[right].append((left, 0.0))
        after[left].append((right, port))

    for source, chain in enumerate(chains):
        for left, right in zip([source, *chain], chain):
            join(left, right, 0.0)
    for (source, target), port in zip(wires, ports):
        steps = ranks[target] - ranks[source] - 1
        join(chains[source][steps - 1] if steps > 0 else source, target, port)
    return before, after


def _ordered(columns: list[list[int]], before: Neighbours, after: Neighbours) -> list[list[int]]:
    """Order every column by the barycentres of its neighbours, to and fro; keep the order with the fewest crossings."""
    position = [0] * len(before)

    def settle(column: list[int]) -> None:
        for i, box in enumerate(column):
            position[box] = i

    def barycentre(near: list[tuple[int, float]]) -> float:
        return sum(position[x] + 0.4 * port for x, port in near) / len(near)

    for column in columns:
        settle(column)
    best, least = [list(column) for column in columns], _crossings(columns, after)
    for turn in range(ROUNDS):
        if not least:
            break
        neighbours = before if turn % 2 else after
        for column in columns if turn % 2 else reversed(columns):
            centres = {box: barycentre(neighbours[box]) if neighbours[box] else position[box] for box in column}
            column.sort(key=centres.__getitem__)
            settle(column)
        crossings = _crossings(columns, after)
        if crossings < least:
            best, least = [list(column) for column in columns], crossings
    return best


def _crossings(columns: list[list[int]], after: Neighbours) -> int:
    """Count the pairs of wires that cross."""
    total = 0
    for left, right in itertools.pairwise(columns):
        position = {box: i for i, box in enumerate(right)}
        ends: list[float] = []
        for box in left:
            here = sorted(position[x] + 0.4 * port for x, port in after[box])
            for end in here:
                total += len(ends) - bisect(ends, end)
            for end in here:
                insort(ends, end)
    return total


def _heights(columns: list[list[int]], before: Neighbours, after: Neighbours, rooms: list[float]) -> list[float]:
    """Place every column as near to its neighbours as its order and the room of each box allow."""
    y = [0.0] * len(rooms)
    for column in columns:
        top = -sum(rooms[box] for box in column) / 2
        for box in column:
            y[box] = top + rooms[box] / 2
            top += rooms[box]
    for turn in range(2 * ROUNDS):
        both = turn >= 2 * ROUNDS - 2
        for column in reversed(columns) if turn % 2 else columns:
            wanted = []
            for box in column:
                near = [x for x, _ in before[box]] + [x for x, _ in after[box]] if both else [
                    x for x, _ in (after if turn % 2 else before)[box]
                ]  # fmt: skip
                wanted.append(sum(y[x] for x in near) / len(near) if near else y[box])
            for box, height in zip(column, _apart(wanted, [rooms[box] for box in column])):
                y[box] = height
    lowest = min((y[i] - room / 2 for i, room in enumerate(rooms)), default=0.0)
    return [height - lowest for height in y]


def _apart(wanted: list[float], rooms: list[float]) -> list[float]:
    """Return the heights nearest to those wanted, in least squares, that keep order and room: violators are pooled."""
    offsets: list[float] = []
    offset = last = 0.0
    for room in rooms:
        offset += (last + room) / 2 if offsets else 0.0
        offsets.append(offset)
        last = room
    pools: list[list[float]] = []  # sum and number of what was wanted
    for height, shift in zip(wanted, offsets):
        pools.append([height - shift, 1])
        while len(pools) > 1 and pools[-2][0] * pools[-1][1] > pools[-1][0] * pools[-2][1]:
            total, count = pools.pop()
            pools[-1][0] += total
            pools[-1][1] += count
    level = [total / count for total, count in pools for _ in range(int(count))]
    return [height + shift for height, shift in zip(level, offsets)]
