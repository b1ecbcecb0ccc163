"""The rules, tested as values: one file for each module, nothing set up and nothing awaited."""
