"""The web console: its built pages as an ASGI app, and a signing proxy to a deployed stack."""
