"""The networks: one module each, which builds it for an input."""
