"""Training and evaluating one model on one task."""
