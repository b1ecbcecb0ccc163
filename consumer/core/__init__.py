"""The rules of the product as pure functions over values: no await, clock, randomness, I/O or logging."""
