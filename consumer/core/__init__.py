"""The rules, as pure functions over values: no await, clock, randomness, I/O or logging."""
