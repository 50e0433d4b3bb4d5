"""The admin: an ASGI app to look at invocations, keys, services and versions, and to act on them.

`adapter.http.admin.openapi` describes all of it; docs/admin.md explains it. The ingress leads nowhere here.
"""

from adapter.http.admin.app import Admin
from adapter.http.admin.local import LocalServices

__all__ = ["Admin", "LocalServices"]
