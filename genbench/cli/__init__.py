"""The command line: what its commands take, what they print, and how they fail."""
