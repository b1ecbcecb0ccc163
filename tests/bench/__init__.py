"""The speed of the worker on one machine: `make bench`."""
