"""`make drills`: one server that is in all the troubles at once."""

from __future__ import annotations

from tests.drills import __main__ as drills
from tests.drills.world import world


def test_a_server_is_in_all_troubles_at_once() -> None:
    with world() as server:
        lines = drills.make(server)
        assert len(lines) == 8
        live = server.http.get("/admin/invocations", params={"status": "live"}).json()["invocations"]
        assert {each["status"] for each in live} == {"paused", "suspended", "queued", "backing-off"}
        deployments = server.http.get("/admin/deployments").json()["deployments"]
        assert {each["deployment"]: each["current"] for each in deployments} == {"shop:1": False, "shop:2": True}
        [ring] = server.http.get("/admin/deadlocks").json()["deadlocks"]
        assert ring["text"] == "Account/ann → Account/bob → Account/ann"
