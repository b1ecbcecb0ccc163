"""The ports on D1, KV, R2 and Queues.

Only this package and `consumer.worker` import `js`, `pyodide` or `workers`.  No module holds a JavaScript object at
module level: a Worker starts from a snapshot of its modules, and the snapshot cannot hold JavaScript objects.
"""
