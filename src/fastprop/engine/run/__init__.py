"""A program is run: at a point, in lanes, with the caller's gates."""
