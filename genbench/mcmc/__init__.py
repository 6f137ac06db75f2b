"""Markov chains: Langevin moves, proposals between grey levels, annealed importance sampling."""
