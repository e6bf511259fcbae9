"""Kept models as folders that can be uploaded to the Hub."""
