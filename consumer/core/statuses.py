"""What an HTTP status proves about the work that was requested, also where one server stands in front of another.

A gateway or a proxy can answer by itself after it forwarded the request.  So a status proves that no work was done only
if no server on the way can make it later.  Each status that proves this is in `PROOF`, with its reason; every other
status from 100 to 599 proves nothing.  A gateway that calls its servers again by itself defeats every table: set its
own retries to 0.
"""

from __future__ import annotations

from enum import Enum
from typing import Final


class Proof(Enum):
    """What a status says about the work."""

    REFUSED = "refused"
    """Certainly not done, and the same request would be refused again."""
    BUSY = "busy"
    """Certainly not done, and a later request may succeed."""
    BUSY_IF_SAID = "busy if said"
    """As BUSY if the API itself says so, by an error in its own format or by a time to come back.  A bare status or a
    page comes from a proxy, and some proxies make the same status after they forwarded the request."""
    NONE = "none"
    """The work may have been done, in full or in part."""


# fmt: off
PROOF: Final[dict[int, Proof]] = {
    # A redirect: the request must be sent to another address, so this one did nothing.  303 is not here: it names
    # the place of a result that exists.
    300: Proof.REFUSED, 301: Proof.REFUSED, 302: Proof.REFUSED, 304: Proof.REFUSED, 305: Proof.REFUSED,
    307: Proof.REFUSED, 308: Proof.REFUSED,
    # The request is wrong, or may not be made: this is found out before the work begins.
    400: Proof.REFUSED, 401: Proof.REFUSED, 402: Proof.REFUSED, 403: Proof.REFUSED, 404: Proof.REFUSED,
    405: Proof.REFUSED, 406: Proof.REFUSED, 407: Proof.REFUSED, 410: Proof.REFUSED, 411: Proof.REFUSED,
    412: Proof.REFUSED, 413: Proof.REFUSED, 414: Proof.REFUSED, 415: Proof.REFUSED, 416: Proof.REFUSED,
    417: Proof.REFUSED, 418: Proof.REFUSED, 421: Proof.REFUSED, 422: Proof.REFUSED, 426: Proof.REFUSED,
    428: Proof.REFUSED, 431: Proof.REFUSED, 451: Proof.REFUSED,
    # nginx: headers that are too large, a wrong certificate, plain HTTP on a TLS port.
    494: Proof.REFUSED, 495: Proof.REFUSED, 496: Proof.REFUSED, 497: Proof.REFUSED,
    # The server lacks the method or the version of HTTP; a network wants a login first.
    501: Proof.REFUSED, 505: Proof.REFUSED, 511: Proof.REFUSED,
    # The server takes no work at the moment.  498: Groq, no capacity.  529: Anthropic, overloaded.
    423: Proof.BUSY, 425: Proof.BUSY, 429: Proof.BUSY, 498: Proof.BUSY, 529: Proof.BUSY,
    # Cloudflare could not connect to the server behind it: refused, no route, no TLS.
    521: Proof.BUSY, 523: Proof.BUSY, 525: Proof.BUSY, 526: Proof.BUSY,
    # An overloaded API says this.  Heroku's router, AWS API Gateway and Envoy also make it after they forwarded the
    # request, when the server behind them takes too long or breaks the connection.
    503: Proof.BUSY_IF_SAID,
}
# fmt: on
"""Statuses that prove that no work was done.  All others prove nothing.  These are the ones that look as if they did:

    2xx       a success without an answer that can be read
    303       the result of the work is at another address
    408       LiteLLM and Portkey: the server behind them took too long
    409       a lock took too long, or the same request is being worked on
    424       Hugging Face, Bedrock: the model broke off in the middle of its answer
    499, 460  a proxy on the way saw its client give up
    500       LiteLLM: the server behind it broke off, or sent an answer that it cannot read
    502, 504  the proxy did not get an answer to a request that it forwarded
    520, 522, 524   Cloudflare: the same
    1xx, and numbers without a registered meaning
"""


def proof_of(status: int) -> Proof:
    """What a status proves."""
    return PROOF.get(status, Proof.NONE)
