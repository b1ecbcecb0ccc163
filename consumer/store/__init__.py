"""Every SQL statement of the product, one module for each thing that it does.

Above each statement is a sentence that says what the statement does.  Only files of the local host have SQL of their own:
its key-value store, its queue and the table of applied migrations (`consumer/local`).

A set of rows travels to the database as one JSON parameter, which the statement unfolds with `json_each`.  So a group of
any size is one statement with few parameters: D1 allows 1,000 statements in an invocation and 100 parameters in
a statement.
"""
