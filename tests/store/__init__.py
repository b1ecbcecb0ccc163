"""Statements and batches of `consumer/store`."""
