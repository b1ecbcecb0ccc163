"""Tests that run the real Worker in Cloudflare's runtime (workerd), offline."""
