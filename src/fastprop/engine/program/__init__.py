"""A draft becomes a program."""
