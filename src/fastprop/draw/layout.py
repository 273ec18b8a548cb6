"""Where the boxes of a diagram stand: in columns by depth, with few crossings, and wires as straight as they can be.

The manner of Sugiyama, Tagawa and Toda (1981): a wire that passes columns has a place in each of them; the order in a
column follows the barycentres of the neighbours; then all places move towards their neighbours, as far as the order and
the distances allow it. A source has one wire, from which those to its targets branch off. Sums are exact (`fsum`), so
that every Python gives the same picture.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect, insort
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Layout", "lay_out"]

ROUNDS = 8
BOX = 6.0  # how much a box counts against a wire that passes


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
    y = _heights(columns, before, after, rooms, len(rank))
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
        return math.fsum(position[x] + 0.4 * port for x, port in near) / len(near)

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
    _untangle(best, before, after)
    return best


def _untangle(columns: list[list[int]], before: Neighbours, after: Neighbours) -> None:
    """Exchange those that stand next to each other in a column wherever fewer wires cross then."""
    position = [0] * len(before)
    for column in columns:
        for i, place in enumerate(column):
            position[place] = i

    def crossings(upper: int, lower: int) -> int:
        count = 0
        for side in (before, after):
            ends = [position[x] + 0.4 * port for x, port in side[lower]]
            count += sum(position[x] + 0.4 * port > end for x, port in side[upper] for end in ends)
        return count

    for _ in range(ROUNDS):
        changed = False
        for column in columns:
            for i, (upper, lower) in enumerate(itertools.pairwise(tuple(column))):
                if column[i] == upper and crossings(upper, lower) > crossings(lower, upper):
                    column[i], column[i + 1] = lower, upper
                    position[lower], position[upper] = i, i + 1
                    changed = True
        if not changed:
            return


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


def _heights(
    columns: list[list[int]], before: Neighbours, after: Neighbours, rooms: list[float], boxes: int
) -> list[float]:
    """Place every column as near to its neighbours as its order and the room of each box allow.

    Boxes count for more than wires that pass, which else would push them away, more from column to column.
    """
    y = [0.0] * len(rooms)
    weight = [BOX] * boxes + [1.0] * (len(rooms) - boxes)

    def wish(place: int, sides: Sequence[Neighbours]) -> float:
        near = [x for side in sides for x, _ in side[place]]
        return math.fsum(weight[x] * y[x] for x in near) / math.fsum(weight[x] for x in near) if near else y[place]

    def settle(column: list[int], wanted: list[float]) -> None:
        heights = _apart(wanted, [rooms[place] for place in column], [weight[place] for place in column])
        for place, height in zip(column, heights):
            y[place] = height

    for column in columns:
        settle(column, [0.0] * len(column))
    for turn in range(2 * ROUNDS):
        sides = (before, after) if turn >= ROUNDS else (after if turn % 2 else before,)
        for column in reversed(columns) if turn % 2 else columns:
            settle(column, [wish(place, sides) for place in column])
    lowest = min((height - room / 2 for height, room in zip(y, rooms)), default=0.0)
    return [height - lowest for height in y]


def _apart(wanted: list[float], rooms: list[float], weights: list[float]) -> list[float]:
    """Return the heights nearest to those wanted, in least squares, that keep order and room: violators are pooled."""
    shifts = [0.0]
    for room, following in itertools.pairwise(rooms):
        shifts.append(shifts[-1] + (room + following) / 2)
    pools: list[tuple[float, float, int]] = []  # weighted sum of what was wanted, weight, and how many
    for height, shift, weight in zip(wanted, shifts, weights):
        total, count = weight * (height - shift), 1
        while pools and pools[-1][0] * weight > total * pools[-1][1]:
            total, weight, count = total + pools[-1][0], weight + pools[-1][1], count + pools[-1][2]
            pools.pop()
        pools.append((total, weight, count))
    level = [total / weight for total, weight, count in pools for _ in range(count)]
    return [height + shift for height, shift in zip(level, shifts)]
