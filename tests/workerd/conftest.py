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
from tests.workerd.configuration import Configuration, Options
from tests.workerd.deployed import SECRETS, DeployedWorker, Models, profiles
from tests.workerd.guards import breaches
from tests.workerd.harness import Workerd
from tests.workerd.loopback import Loopback
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
    del toolchain  # so that nothing is fetched without a toolchain
    return packages(pytest_inside.WORKER_LOCK)


@pytest.fixture(scope="session")
def configuration() -> Configuration:
    """The bindings of the project's own configuration."""
    return Configuration.read(CONFIGURATION)


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
def sample(toolchain: Toolchain, configuration: Configuration) -> Iterator[Workerd]:
    """The sample Worker, with a few tests beside it."""
    tests = {"tests/outcomes.py": OUTCOMES, "tests/broken.py": "import nowhere"}
    lab = pytest_inside.lab_files(tests)
    site = pytest_inside.packages_with_pytest()
    with Workerd(below(HERE / "sample"), site, configuration, toolchain=toolchain, lab=lab) as running:
        yield running


@contextmanager
def opened(
    toolchain: Toolchain, site: Path, configuration: Configuration, **options: Any
) -> Iterator[DeployedWorker]:
    """The Worker that is deployed, on a migrated database, with a server of models on loopback."""
    models = Models()
    with Loopback(models) as server:
        complete = configuration.with_variables(PROFILES=profiles(server), **SECRETS)
        chosen = Options(intercept=False, **options)
        with Workerd(shipped(), site, complete, toolchain=toolchain, options=chosen) as running:
            running.database("DB").migrate(ROOT / "migrations")
            deployed = DeployedWorker(running, server, models)
            deployed.create_organization()
            yield deployed


@pytest.fixture(scope="session")
def worker_without_queues(
    toolchain: Toolchain, site: Path, configuration: Configuration
) -> Iterator[DeployedWorker]:
    """A Worker whose queues do not deliver: every event comes from a test."""
    with opened(toolchain, site, replace(configuration, triggers=())) as deployed:
        yield deployed


@pytest.fixture(scope="session")
def worker_with_queues(
    toolchain: Toolchain, site: Path, configuration: Configuration
) -> Iterator[DeployedWorker]:
    """A Worker whose queues deliver."""
    with opened(toolchain, site, configuration) as deployed:
        yield deployed


@pytest.fixture
def deployed(worker_without_queues: DeployedWorker) -> Iterator[DeployedWorker]:
    """The Worker without queues, for one test; afterwards every event must have kept the platform's rules."""
    yield from _guarded(worker_without_queues)


@pytest.fixture
def live(worker_with_queues: DeployedWorker) -> Iterator[DeployedWorker]:
    """The Worker with queues, for one test."""
    yield from _guarded(worker_with_queues)


def _guarded(deployed: DeployedWorker) -> Iterator[DeployedWorker]:
    deployed.worker.events()
    yield deployed
    found = breaches(deployed.unseen + deployed.worker.events())
    deployed.clear()
    assert found == []
