"""What a user holds: operators, NumPy's names, operands, and containers of numbers."""
