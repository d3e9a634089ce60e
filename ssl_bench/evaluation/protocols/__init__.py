"""Evaluation protocols, one file per name of `ssl-bench list`."""
