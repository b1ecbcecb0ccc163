"""Hypothesis without deadlines: a test that is slow on a busy machine has not failed."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("unhurried", settings(), deadline=None)
settings.load_profile("unhurried")
