"""The adapters: the contract for all of them, and tests of each."""
