"""Recording for circuits: traced values, conditions, and the draft."""
