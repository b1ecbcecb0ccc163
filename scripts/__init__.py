"""What make runs.  Nothing of it ships; `stage` runs on the standard library alone."""
