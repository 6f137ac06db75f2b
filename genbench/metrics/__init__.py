"""One file per metric family, pure functions of features."""
