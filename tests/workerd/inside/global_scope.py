"""A stand-in for the runtime's `_cloudflare` package, as far as Cloudflare's SDK uses it.

The SDK registers context managers around the import of certain packages, and permits a number of requests for
randomness within them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_creating: dict[str, Callable[[Any], AbstractContextManager[None]]] = {}
_executing: dict[str, Callable[[Any], AbstractContextManager[None]]] = {}


_permits: list[None] = []
"""The number of requests for randomness that are permitted now."""


def allow_one() -> bool:
    """Use up one permitted request for randomness, if there is one."""
    if not _permits:
        return False
    _permits.pop()
    return True


@contextmanager
def allow_bad_entropy_calls(count: int) -> Iterator[None]:
    """Permit this number of requests for randomness in the block."""
    outer = list(_permits)
    _permits[:] = [None] * count
    try:
        yield
        if _permits:
            raise RuntimeError(f"{len(_permits)} permitted requests for randomness were not made")
    finally:
        _permits[:] = outer


def _registering(into: dict[str, Any]) -> Callable[..., Any]:
    def register(name: str, patch: Callable[..., Any] | None = None) -> Any:
        if patch is None:
            return lambda decorated: register(name, decorated)
        into[name] = patch
        return patch

    return register


def _block_calls(module: ModuleType, *, allowlist: Sequence[str] = ()) -> None:
    """Accept what the runtime does for numpy: the project's packages never come here."""
    del module, allowlist


class _PatchedLoader(Loader):
    def __init__(self, name: str, loader: Loader) -> None:
        self._name = name
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        with _creating.get(self._name, nullcontext)(spec):
            return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        with _executing.get(self._name, nullcontext)(module):
            self._loader.exec_module(module)


class _PatchedFinder(MetaPathFinder):
    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in _creating and name not in _executing:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        spec = next(filter(None, (finder.find_spec(name, path, target) for finder in others)), None)
        if spec and spec.loader:
            spec.loader = _PatchedLoader(name, spec.loader)
        return spec


def install() -> None:
    """Make the modules that the SDK imports."""
    entropy = ModuleType("_cloudflare.allow_entropy")
    entropy.allow_bad_entropy_calls = allow_bad_entropy_calls  # type: ignore[attr-defined]
    patches = ModuleType("_cloudflare.import_patch_manager")
    for name, value in {
        "register_create_patch": _registering(_creating),
        "register_exec_patch": _registering(_executing),
        "register_after_snapshot": _registering({}),
        "register_before_first_request": _registering({}),
        "block_calls": _block_calls,
    }.items():
        setattr(patches, name, value)
    package = ModuleType("_cloudflare")
    package.__path__ = []
    package.__spec__ = ModuleSpec("_cloudflare", None, is_package=True)
    sys.modules |= {module.__name__: module for module in (package, entropy, patches)}


@contextmanager
def closed() -> Iterator[None]:
    """Import under the patches; afterwards imports are ordinary again, as they are in a request."""
    finder = _PatchedFinder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
