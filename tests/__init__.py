"""The tests; nothing imports them."""
