"""Bugs planted on purpose, and the runner that shows that the tests notice them."""
