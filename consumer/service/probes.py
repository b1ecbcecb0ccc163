"""Probes: one cheap real request for each profile, to find out whether the account works.

An adapter says which request that is, and what its reply means.  Nothing is stored, and such a probe ends no
rest: the worker finds out by itself, with its next call."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from consumer.core.outcome import Failed, Retry, Succeeded, Unknown
from consumer.execution.call import send
from consumer.execution.network import address, network_reason
from consumer.execution.secrets import without_secrets
from consumer.service.findings import Finding
from consumer.service.rests import FAULT_ADVICE, FAULTS
from consumer.store.schema import check
from consumer.store.sql import integer, text

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from consumer.core.outcome import Outcome
    from consumer.core.profile import Account
    from consumer.provider import Probe, Provider
    from consumer.world import World

PROBE_S: Final = 10.0
"""Seconds after which a probe counts as unanswered."""
SLOW_MS: Final = 3_000
"""From this time on, an answer is reported as slow."""
MAX_TEMPLATES: Final = 10_000
"""Templates whose models are compared with the list of the provider."""
MAX_MODELS: Final = 20
"""Unknown models of a profile that are reported one by one."""


async def probe(world: World, skip: Container[str] = ()) -> list[Finding]:
    """Probe every profile, except those to skip, a few at a time.  Raises `Unavailable`."""
    wanted = await _wanted_models(world)
    gate = asyncio.Semaphore(world.config.connections)

    async def one(name: str, account: Account) -> list[Finding]:
        async with gate:
            return await _probe(world, account, wanted.get(name, {}))

    found = await asyncio.gather(
        *(one(name, account) for name, account in sorted(world.accounts.items()) if name not in skip)
    )
    return [finding for findings in found for finding in findings]


async def _wanted_models(world: World) -> dict[str, dict[str, int]]:
    """The models that templates name, by profile, each with the first template."""
    wanted: dict[str, dict[str, int]] = {}
    for row in await world.rows(check.MODELS(limit=MAX_TEMPLATES)):
        wanted.setdefault(text(row, "profile"), {})[text(row, "model")] = integer(row, "first")
    return wanted


async def _probe(world: World, account: Account, wanted: Mapping[str, int]) -> list[Finding]:
    name, provider = account.name, world.providers[account.profile.provider]
    asked = _asked(provider, account)
    if asked is None:
        why = f"{provider.name} sends no requests" if not provider.needs_base_url else "it has no cheap check"
        return [Finding("ok", f"profile {name} is not probed: {why}")]
    if isinstance(asked, Failed):
        return [_failed(account, asked)]
    began = world.clock.now_ms()
    outcome = without_secrets(account, await _outcome(world, provider, account, asked))
    took = world.clock.now_ms() - began
    if not isinstance(outcome, Succeeded):
        return [_failed(account, outcome)]
    listed = outcome.output if isinstance(outcome.output, list) else None
    models = f" and lists {len(listed)} models" if listed is not None else ""
    costs = f"; the probe costs {asked.costs}" if asked.costs else ""
    answers = f"profile {name} answers in {took} ms{models}{costs}"
    if took >= SLOW_MS:
        return [
            Finding("warning", answers, "it is slow: look at the status of the provider"),
            *_unknown(name, listed, wanted),
        ]
    return [Finding("ok", answers), *_unknown(name, listed, wanted)]


def _asked(provider: Provider, account: Account) -> Probe | Failed | None:
    try:
        return provider.probe(account)
    except Exception as error:  # noqa: BLE001  # an adapter may raise anything
        return Failed(f"adapter_error: {type(error).__name__}")


async def _outcome(world: World, provider: Provider, account: Account, asked: Probe) -> Outcome:
    """The outcome of a probe; a failed connection is Unknown."""
    try:
        async with asyncio.timeout(PROBE_S):
            reply = await send(world, asked.request)
    except TimeoutError:
        return Unknown(f"timeout: no answer within {PROBE_S:g} s from {address(asked.request)}")
    except Exception as error:  # noqa: BLE001  # each host's transport has errors of its own
        return Unknown(network_reason(asked.request, error))
    if reply is None:
        return Failed("reply_too_large")
    try:
        return provider.read_probe(account, reply)
    except Exception as error:  # noqa: BLE001  # an adapter may raise anything
        return Failed(f"adapter_error: {type(error).__name__}")


def _failed(account: Account, outcome: Outcome) -> Finding:
    why = outcome.why if isinstance(outcome, Retry | Failed | Unknown) else type(outcome).__name__
    if isinstance(outcome, Retry) and outcome.account is not None:
        return Finding(
            "error",
            f"profile {account.name}: {FAULTS[outcome.account]} ({why})",
            FAULT_ADVICE[outcome.account],
        )
    if isinstance(outcome, Unknown):
        return Finding(
            "error",
            f"profile {account.name} does not answer: {why}",
            "look at its base_url, and at the provider",
        )
    advice = "look at its base_url, and at the address that its adapter probes"
    return Finding("warning", f"profile {account.name} answers, but not to the probe: {why}", advice)


def _unknown(name: str, listed: list[str] | None, wanted: Mapping[str, int]) -> list[Finding]:
    """The models that templates name and that the provider does not list."""
    if listed is None:
        return []
    missing = sorted(wanted.keys() - set(listed))
    advice = "correct the route; a provider may know models that it does not list"
    found = [
        Finding(
            "warning",
            f"profile {name} does not list model {model!r}, which template {wanted[model]} names",
            advice,
        )
        for model in missing[:MAX_MODELS]
    ]
    if len(missing) > MAX_MODELS:
        found.append(
            Finding(
                "warning", f"profile {name} does not list {len(missing) - MAX_MODELS} more models", advice
            )
        )
    return found
