"""The executor of one instruction set."""

from typing import Any

executor: Any
