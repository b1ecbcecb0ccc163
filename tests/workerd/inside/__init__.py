"""Python that runs inside the worker, beside the project, for the tests."""
