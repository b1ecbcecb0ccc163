"""The tables, triggers and migrations, on SQLite and on D1."""
