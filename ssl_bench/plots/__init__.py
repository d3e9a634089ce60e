"""Figures of runs and of features."""
