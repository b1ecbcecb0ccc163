"""The contracts on the local host, and tests of the local host alone."""
