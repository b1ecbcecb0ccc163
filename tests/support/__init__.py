"""A whole worker for tests: a clock that is set, programmable providers, and ports that fail on demand.

Nothing here knows a host: a test hands in its `database`, `kv` and `blobs`.
"""
