"""From a trained model and its samples to numbers: likelihoods, features, metrics, records."""
