"""Predictions beside the data that they are about: errors, disagreements, an audit of records and tables."""
