"""MLflow: finished entries as runs, and the store that holds them."""
