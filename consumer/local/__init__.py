"""The ports on one machine: SQLite and plain files in a data directory, as strict as Cloudflare."""
