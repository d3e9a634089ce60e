"""Records of runs, and tables of them."""
