"""The same small measurements of well-known queues and of this worker, side by side in one run.

Each peer is one file with two roles, `work` and `send`, which run as processes of their own."""
