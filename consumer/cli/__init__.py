"""The `bizq` command, and the worker on one machine that it runs."""
