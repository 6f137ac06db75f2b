"""What stages left on disk: read, checked, compared with params.yaml and with other runs."""
