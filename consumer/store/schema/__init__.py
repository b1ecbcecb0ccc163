"""The schema that the product expects, and the check of what is there."""
