"""Which model is better, by how much, and is it noise? Pure functions on arrays; docs/statistics.md explains them."""

VERSION = 2
"""Of the statistics: raised when a change of the code changes an interval, a p or a tie group."""
