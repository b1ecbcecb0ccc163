"""Requests of callers: the doctor's checks, signed links."""
