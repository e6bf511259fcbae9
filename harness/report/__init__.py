"""Leaderboards, from records only: they can be made again at any time, over one or several results folders."""
