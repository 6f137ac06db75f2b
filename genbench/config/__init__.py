"""What a user configures: params.yaml, read and checked, and what follows from it for files and
stages.
"""
