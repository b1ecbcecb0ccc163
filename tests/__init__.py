"""The tests.  No module of the product imports them."""
