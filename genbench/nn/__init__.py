"""Layers that know nothing of training."""
