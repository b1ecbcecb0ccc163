"""The command `bizq`.

`group` finds a command's module; `tasks`, `operate`, `configure`, `live` and `journal` have the commands.  A command
asks a `client`: in this process on a data directory (which `host` opens), or over HTTP (`remote`).  `dev` has the
programs that run for longer: the worker on this machine, and the demo.

A command imports only the modules that it needs, because importing them takes most of its time.
tests/cli/test_light.py lists the modules that a command must not import.
"""
