"""Measurements of speed; each file prints a table and writes a JSON file to results/."""
