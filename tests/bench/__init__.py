"""How fast the worker is on one machine: `make bench`."""
