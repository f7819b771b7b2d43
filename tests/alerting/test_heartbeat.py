"""The dead-man switch."""

from __future__ import annotations

from scripts.services.http_server import HttpServer, Reply, closed_port
from streamae.alerting.heartbeat import Heartbeat
from streamae.alerting.http_client import HttpClient
from tests.alerting.made_alerts import NOW_MS


def test_a_beat_is_one_request(server: HttpServer, client: HttpClient) -> None:
    """Each beat is a GET of the address, whole as it was set."""
    heartbeat = Heartbeat(f"{server.url}/ping/t0ken?a=1", client)
    assert [heartbeat.beat(NOW_MS), heartbeat.beat(NOW_MS)] == ["", ""]
    assert [(asked.method, asked.path) for asked in server.asked] == [("GET", "/ping/t0ken?a=1")] * 2


def test_why_a_beat_failed_is_told_without_the_address(server: HttpServer, client: HttpClient) -> None:
    """Such an address is a secret: who has it can keep the switch quiet."""
    server.replies += [Reply(404, f"{server.url}/t0ken".encode()), Reply(302), Reply(500)]
    heartbeat = Heartbeat(f"{server.url}/t0ken", client)
    told = [heartbeat.beat(NOW_MS) for _ in range(3)]
    told += [
        Heartbeat(url, client).beat(NOW_MS)
        for url in (f"http://127.0.0.1:{closed_port()}/t0ken", "http://0.0.0.0/t0ken")
    ]
    assert [why.split(":")[0] for why in told] == [
        "answered 404",
        "answered 302",
        "answered 500",
        "127.0.0.1",
        "0.0.0.0 leads to 0.0.0.0, which is never asked",
    ]
    assert not any("t0ken" in why for why in told)
