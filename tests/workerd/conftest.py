"""The Worker in workerd, started once for all tests that use it."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from scripts.stage import shipped
from tests.workerd import pytest_inside
from tests.workerd.archives import HERE, ROOT, below, packages
from tests.workerd.deployment import Deployment, Options
from tests.workerd.guards import breaches
from tests.workerd.harness import Workerd
from tests.workerd.loopback import Loopback
from tests.workerd.office import SECRETS, Models, Office, profiles
from tests.workerd.toolchain import MissingToolError, Toolchain

if TYPE_CHECKING:
    from collections.abc import Iterator

CONFIGURATION = ROOT / "wrangler.toml"


@pytest.fixture(scope="session")
def toolchain() -> Toolchain:
    """Node and the npm packages.  Without them: skipped on a laptop, failed in CI."""
    try:
        return Toolchain.find()
    except MissingToolError as error:
        if os.environ.get("CI"):
            pytest.fail(f"CI must run workerd: {error}", pytrace=False)
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def site(toolchain: Toolchain) -> Path:
    """The Worker's packages."""
    del toolchain  # no use in fetching them for nothing
    return packages(pytest_inside.WORKER_LOCK)


@pytest.fixture(scope="session")
def deployment() -> Deployment:
    """The bindings of the project's own configuration."""
    return Deployment.read(CONFIGURATION)


OUTCOMES = """
import pytest

@pytest.mark.parametrize("n", [1, 2])
async def test_passes(n): assert n

async def test_fails():
    print("seen")
    assert 1 == 2

async def test_is_skipped(): pytest.skip("not here")
"""


@pytest.fixture(scope="session")
def sample(toolchain: Toolchain, deployment: Deployment) -> Iterator[Workerd]:
    """The sample Worker, with a few tests beside it."""
    tests = {"tests/outcomes.py": OUTCOMES, "tests/broken.py": "import nowhere"}
    lab = pytest_inside.laboratory(tests)
    site = pytest_inside.packages_with_pytest()
    with Workerd(below(HERE / "sample"), site, deployment, toolchain=toolchain, lab=lab) as running:
        yield running


@contextmanager
def opened(toolchain: Toolchain, site: Path, deployment: Deployment, **options: Any) -> Iterator[Office]:
    """The Worker that is deployed, on a migrated database, with a server of models on loopback."""
    models = Models()
    with Loopback(models) as server:
        complete = deployment.with_variables(PROFILES=profiles(server), **SECRETS)
        chosen = Options(intercept=False, **options)
        with Workerd(shipped(), site, complete, toolchain=toolchain, options=chosen) as running:
            running.database("DB").migrate(ROOT / "migrations")
            office = Office(running, server, models)
            office.settle_in()
            yield office


@pytest.fixture(scope="session")
def quiet_office(toolchain: Toolchain, site: Path, deployment: Deployment) -> Iterator[Office]:
    """Nothing happens by itself: what is sent to its queues is not delivered."""
    with opened(toolchain, site, replace(deployment, triggers=())) as office:
        yield office


@pytest.fixture(scope="session")
def busy_office(toolchain: Toolchain, site: Path, deployment: Deployment) -> Iterator[Office]:
    """Its queues deliver."""
    with opened(toolchain, site, deployment) as office:
        yield office


@pytest.fixture
def office(quiet_office: Office) -> Iterator[Office]:
    """For one test, after which every event must have kept the rules."""
    yield from _guarded(quiet_office)


@pytest.fixture
def live(busy_office: Office) -> Iterator[Office]:
    """For one test, with real queues."""
    yield from _guarded(busy_office)


def _guarded(office: Office) -> Iterator[Office]:
    office.worker.events()
    yield office
    found = breaches(office.unseen + office.worker.events())
    office.clear()
    assert found == []
