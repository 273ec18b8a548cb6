"""The gates' kernels: value and partials side by side."""
