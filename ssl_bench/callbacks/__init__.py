"""What watches a run without being in the way of its loss."""
