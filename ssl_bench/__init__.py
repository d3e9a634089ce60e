"""Generative and discriminative self-supervised learning on one scale."""
