"""Images that others made: read and checked, scored by the protocol, kept as rows of the report."""
