"""The tape: typed arrays of nodes, the handles on them, and the sweeps."""
