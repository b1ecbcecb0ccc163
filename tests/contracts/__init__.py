"""What every host must do, as test classes that know no host.

A host gives the fixtures that a class names (`database`, `kv`, `blobs`, `queue`, `serve`), fresh and empty for
each test, and binds the class in one line: `class TestLocalDatabase(DatabaseContract): ...`.
The suites run on CPython and inside the Workers runtime alike: no threads, files, processes or sleeping.
"""
