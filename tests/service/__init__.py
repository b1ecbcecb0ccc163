"""What callers may ask of the worker: the doctor's checks, signed links."""
