"""The contracts on the local host, and the tests of what only that host does."""
