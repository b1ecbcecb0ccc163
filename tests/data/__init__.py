"""What the tests of the schema start from."""
