"""Generated views: inversion of a generator, searches in its latent space, caches, and what views share."""
