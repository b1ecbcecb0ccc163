"""Planted bugs, each a small change to the product: the simulator has to detect every one.

A bug is a function that takes a `Patch`; its docstring describes the fault in one sentence.
"""
