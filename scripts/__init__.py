"""The tools that make runs.  None of them ships, and `stage` needs only the standard library."""
