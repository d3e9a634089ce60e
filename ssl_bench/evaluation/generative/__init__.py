"""Metrics of samples: extractors, distances and sampling."""
