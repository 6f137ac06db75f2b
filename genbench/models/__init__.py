"""One file per model; a new file here is a new model."""
