"""How well a system finds patents, and whether it is better than another."""
