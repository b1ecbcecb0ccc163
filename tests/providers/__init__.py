"""The adapters: the contract for each of them, and what only one of them does."""
