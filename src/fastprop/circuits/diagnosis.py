"""What a circuit says of itself: where the time of a replay goes."""

from __future__ import annotations

__all__ = ["Profile"]


class Profile:
    """Where the time of a replay goes (`Circuit.profile`).

    Attributes
    ----------
    kinds : dict
        ``(sweep, kind of instruction)`` -> how many there are, how many gates are in them, and their time in ns.
    """

    def __init__(self, name: str, kinds: dict[tuple[str, str], tuple[int, int, int]]):
        self.name, self.kinds = name, kinds

    def __repr__(self) -> str:
        lines = [f"{'sweep':<9} {'kind':<16} {'instructions':>12} {'gates':>10} {'ns':>12} {'ns/gate':>8}"]
        for (sweep, kind), (count, gates, time) in sorted(self.kinds.items(), key=lambda item: -item[1][2]):
            lines.append(f"{sweep:<9} {kind:<16} {count:>12} {gates:>10} {time:>12} {time / max(gates, 1):>8.2f}")
        return "\n".join(lines)
