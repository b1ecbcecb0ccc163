"""Bugs that somebody might make, each a small change to the product: the simulator has to catch every one.

A bug is a function that is given a `Patch`; its docstring says in one sentence what is wrong.
"""
