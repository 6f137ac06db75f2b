"""The one training loop and its parts: batches, optimiser phases, arithmetic, unfinished work."""
