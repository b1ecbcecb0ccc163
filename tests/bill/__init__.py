"""What a million tasks cost on Cloudflare, by the platform's own counts: `python -m tests.bill`."""
