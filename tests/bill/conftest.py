"""The bill needs what the tests of workerd need."""

from tests.workerd.conftest import toolchain

__all__ = ["toolchain"]
