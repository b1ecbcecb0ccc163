"""The ports on D1, KV, R2 and Queues.

With `consumer.worker` the only place that imports `js`, `pyodide` or `workers`.  No module holds a JavaScript
object: what is at module level is frozen into the snapshot that a Worker starts from, and JavaScript is not.
"""
