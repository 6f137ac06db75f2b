"""Which stages run, when and how: fingerprints of sources, checks before a run, DVC's files,
cleaning.
"""
