"""The commands of `genbench`, in a file for each group."""
