"""The cost of a million tasks on Cloudflare, by the platform's own counts: `python -m tests.bill`."""
