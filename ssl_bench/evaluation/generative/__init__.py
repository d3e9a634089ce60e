"""What the metrics of generated images are computed with."""
