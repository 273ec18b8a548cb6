"""Functions of functions: gradients, products, checks."""
