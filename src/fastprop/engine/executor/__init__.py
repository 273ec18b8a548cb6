"""The executor, compiled once per instruction set."""
