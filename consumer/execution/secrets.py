"""The deployment's secrets: taken out of what an adapter reports, before it is stored, shown or logged.

And fingerprints, which show that an account has another key without showing the key."""

from __future__ import annotations

import hmac
from dataclasses import replace
from typing import TYPE_CHECKING

from consumer.core.outcome import Failed, Retry, Unknown
from consumer.core.redact import redacted, redacted_value
from consumer.core.strictjson import dump_json

if TYPE_CHECKING:
    from consumer.core.outcome import Outcome
    from consumer.core.profile import Account
    from consumer.world import World


def fingerprint(world: World, account: Account) -> str:
    """A text that changes with the address and the secrets of an account, and does not show them."""
    profile = account.profile
    parts = [profile.base_url, account.key, sorted(account.headers.items())]
    return hmac.digest(world.link_secret.encode(), dump_json(parts).encode(), "sha256").hex()[:16]


def without_secrets(account: Account, outcome: Outcome) -> Outcome:
    """The outcome without any secret of its account in its reason and in its usage.

    Adapters take them out too; this counts for adapters that forget a field."""
    secrets = account.secrets
    if not secrets:
        return outcome
    if isinstance(outcome, Retry | Failed | Unknown):
        outcome = replace(outcome, why=redacted(outcome.why, secrets))
    usage = outcome.usage
    if usage is None or not (usage.raw or usage.model):
        return outcome
    cleared = replace(
        usage,
        raw=redacted_value(dict(usage.raw), secrets) if _leaks(usage.raw, secrets) else usage.raw,
        model=None if usage.model is None else redacted(usage.model, secrets),
    )
    return replace(outcome, usage=cleared)


def _leaks(raw: object, secrets: tuple[str, ...]) -> bool:
    try:
        text = dump_json(raw)
    except Exception:  # noqa: BLE001  # an adapter may report anything; the settlement stores no such usage
        return False
    return redacted(text, secrets) != text
