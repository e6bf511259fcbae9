"""Results in the forms of other tools: lm-eval, Every Eval Ever, experiment trackers."""
