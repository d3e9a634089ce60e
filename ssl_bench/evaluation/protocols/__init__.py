"""Evaluation protocols, one file per name in `ssl-bench list`."""
