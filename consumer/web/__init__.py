"""HTTP: webhooks of providers, the API, and the pages where people answer.

`app.build` makes one ASGI application of them, the same on every host.
"""
