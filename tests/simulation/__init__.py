"""The whole system under one seeded scheduler and a virtual clock, in a world that does its worst.

`python -m tests.simulation --seeds 50` simulates; a failing seed prints the command that replays it.
"""
