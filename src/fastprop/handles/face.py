"""The face of handles: for now it stands in operands."""

from fastprop.handles.operands import ArrayFace, Face

__all__ = ["ArrayFace", "Face"]
