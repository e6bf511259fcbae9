"""The commands by kind: each has its options, and a function that calls what a Python program calls, and prints."""
