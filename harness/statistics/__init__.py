"""Which model is better, by how much, and is it noise? Pure functions on arrays; docs/statistics.md explains them."""
