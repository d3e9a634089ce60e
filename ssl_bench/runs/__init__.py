"""The commands of `ssl-bench`: training, scoring, listing and help."""
