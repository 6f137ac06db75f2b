"""Pictures of models and of their images: grids, ways through latent spaces, animations,
completions.
"""
