"""Leaderboards' submission files: writing and checking them."""
