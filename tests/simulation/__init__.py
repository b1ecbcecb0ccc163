"""The whole system under one seeded scheduler and a virtual clock, in a hostile world.

`python -m tests.simulation --seeds 50` simulates 50 seeds; for a failing seed it prints the command that replays it.
"""
