"""The data sets: downloads with checksums, parsing, fixed splits."""
