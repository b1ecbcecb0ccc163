"""Every SQL statement of the product, named after what it does, once.

Sets of rows travel as one JSON parameter, so that a group of any size is one statement: D1 allows 1,000
statements in an invocation and 100 parameters in a statement.
"""
