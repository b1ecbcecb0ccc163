"""Reading the token counts of a reply under the names that servers of chat completions and gateways give them.

The counts that the price book `genai-prices` can price get its names.  The others are kept in `Usage.raw` only: counts
of predicted tokens (`accepted_prediction_tokens`, `rejected_prediction_tokens`) are parts of the output and cost the
same; times (`queue_time`, `total_time`) cost nothing; searches that a server bills by their depth (Perplexity's
`num_search_queries`, `search_context_size`) and tools that it bills by the call, apart from web searches, have no count
that the book can price.  A server that bills those must report its charge, or have a declared price.
"""

from __future__ import annotations

from typing import Any, Final

from consumer.core.errors import BadInput
from consumer.core.money import Usage
from consumer.core.strictjson import dump_json

_MAX_RAW: Final = 4096
"""Bytes of a usage that is kept as it came."""
_INPUT: Final = ("prompt_tokens", "input_tokens")
_OUTPUT: Final = ("completion_tokens", "output_tokens")
_INPUT_DETAILS: Final = ("prompt_tokens_details", "input_tokens_details")
_OUTPUT_DETAILS: Final = ("completion_tokens_details", "output_tokens_details")
_CACHE_READ: Final = (
    "cached_tokens",
    "cache_read_tokens",
    "cache_read_input_tokens",
    "prompt_cache_hit_tokens",
)
_CACHE_WRITE: Final = ("cache_write_tokens", "cache_creation_tokens", "cache_creation_input_tokens")
_CACHE_LIVES: Final = ("cache_creation", "cache_creation_token_details")
_FURTHER_INPUT: Final = {
    "audio_tokens": "input_audio_tokens",
    "image_tokens": "input_image_tokens",
    "video_tokens": "input_video_tokens",
}
_FURTHER_OUTPUT: Final = {
    "reasoning_tokens": "output_reasoning_tokens",
    "audio_tokens": "output_audio_tokens",
    "image_tokens": "output_image_tokens",
}
_LIVES: Final = {
    "ephemeral_5m_input_tokens": "cache_write_5m_tokens",
    "ephemeral_1h_input_tokens": "cache_write_1h_tokens",
}
_TOOLS: Final = {"web_search_requests": "web_searches"}


def read_usage(reported: Any, model: str, *, worked: bool, wrote: bool) -> Usage | None:
    """The usage that a server reports; None if it reports none.

    `worked`: the model worked on the request, so that it read at least one token.  `wrote`: it also wrote something.
    A count of 0 cannot be true then: it is none, and the cost stays unknown."""
    if not isinstance(reported, dict) or not reported:
        return None
    given, written = _details(reported, _INPUT_DETAILS), _details(reported, _OUTPUT_DETAILS)
    tokens_in, tokens_out, total = (
        _first(reported, *_INPUT),
        _first(reported, *_OUTPUT),
        _first(reported, "total_tokens"),
    )
    if tokens_in is not None and tokens_out is not None and total is not None:
        tokens_out = max(tokens_out, total - tokens_in)  # xAI counts reasoning in the total only
    return Usage(
        None if worked and not tokens_in else tokens_in,
        None if wrote and not tokens_out else tokens_out,
        _first(given, *_CACHE_READ) or _first(reported, *_CACHE_READ) or 0,
        _first(given, *_CACHE_WRITE) or _first(reported, *_CACHE_WRITE) or 0,
        model,
        storable(reported),
        {
            **_named(given, _FURTHER_INPUT),
            **_named(written, _FURTHER_OUTPUT),
            **_named(_details(given, _CACHE_LIVES) or _details(reported, _CACHE_LIVES), _LIVES),
            **_named(_details(reported, ("server_tool_use",)), _TOOLS),
        },
    )


def count(value: Any) -> int | None:
    """A number of tokens; None if the value is not a whole number that a row can hold."""
    counts = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 2**53 - 1
    return int(value) if counts and value == int(value) else None


def _first(reported: dict[str, Any], *names: str) -> int | None:
    return next((found for name in names if (found := count(reported.get(name))) is not None), None)


def _details(reported: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return next((found for name in names if isinstance(found := reported.get(name), dict)), {})


def _named(reported: dict[str, Any], names: dict[str, str]) -> dict[str, int]:
    """The counts that are not zero, under their names in the price book."""
    return {named: found for name, named in names.items() if (found := count(reported.get(name)))}


def storable(reported: dict[str, Any]) -> dict[str, Any]:
    """The usage as the server reported it; empty if it is larger than a row needs it, or nested too deeply."""
    try:
        return reported if len(dump_json(reported).encode()) <= _MAX_RAW else {}
    except BadInput:
        return {}
