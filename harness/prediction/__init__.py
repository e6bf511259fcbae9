"""Kept models at work on a user's own rows."""
