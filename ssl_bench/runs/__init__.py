"""The commands that train and score: bench, fit, evaluate."""
