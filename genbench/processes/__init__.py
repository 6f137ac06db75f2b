"""Processes that share a folder: whether one lives, who holds a lock, who ends with whom."""
