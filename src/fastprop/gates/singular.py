"""The error for a matrix that can't be taken: which one it is of a batch, and in which lane."""

from __future__ import annotations

from numpy.linalg import LinAlgError

__all__ = ["lane_of_batch", "matrix_error", "matrix_in_lane"]


def matrix_error(what: str, place: tuple[int, ...], lanes: tuple[int, ...] = ()) -> LinAlgError:
    """Return the error for a matrix of a batch, in a lane of a map (inside of lanes of another one) or at one point."""
    where = f" {place[0] if len(place) == 1 else place} of the batch" if place else ""
    lane = f", in lane {lanes[0] if len(lanes) == 1 else lanes}" if lanes else ""
    error = LinAlgError(what.format(where) + lane)
    error.about = what, place, lanes  # type: ignore[attr-defined]
    return error


def matrix_in_lane(error: LinAlgError, lane: int) -> LinAlgError:
    """Return the error with the lane in which it occurred, if it is one of these."""
    if not hasattr(error, "about"):
        return error
    what, place, lanes = error.about
    return matrix_error(what, place, (lane, *lanes)).with_traceback(error.__traceback__)


def lane_of_batch(error: LinAlgError) -> tuple[LinAlgError, int]:
    """Return the error of a gate that got the matrices of many lanes as that of one lane, and the lane's place."""
    what, place, _ = getattr(error, "about", ("", (), ()))
    return (matrix_error(what, place[1:]), place[0]) if place else (error, 0)
