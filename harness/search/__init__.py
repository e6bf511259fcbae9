"""Searches: which recipes of a sweep are tried next, and which trials end early. Optuna decides, on plain data."""
