"""The HTTP client against a real server that behaves well and badly: bounds of time and size, addresses, TLS."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from scripts.services import ServiceUnavailableError
from scripts.services.http_server import Asked, Hang, HttpServer, Raw, Reply, closed_port, made_certificate
from streamae.alerting.addresses import Target, is_forbidden
from streamae.alerting.answers import Answer, ForbiddenAddressError, UnreachableError, outcome_of, retry_after_ms
from streamae.alerting.http_client import MOST_ABANDONED, MOST_BYTES, HttpClient, Request
from streamae.alerting.receiver import Delivered, Refused, Retry
from tests.conftest import skip_or_fail

PATIENT_MS, HURRIED_MS = 20_000, 300


@pytest.fixture
def hurried() -> Iterator[HttpClient]:
    """A client that waits for nobody."""
    client = HttpClient(HURRIED_MS)
    yield client
    client.close()


def test_what_is_asked_arrives_and_the_answer_comes_back(server: HttpServer, client: HttpClient) -> None:
    """Method, path, query, headers and body are sent as given, and status, headers and body are returned."""
    server.replies.append(Reply(418, b"no coffee", {"X-Kind": "teapot"}))
    answer = client.ask(Request("POST", f"{server.url}/brew?cups=2", b"please", {"X-Who": "me"}))
    assert (answer.status, answer.body, answer.headers["x-kind"]) == (418, b"no coffee", "teapot")
    (asked,) = server.asked
    assert (asked.method, asked.path, asked.body, asked.headers["x-who"]) == ("POST", "/brew?cups=2", b"please", "me")
    assert asked.headers["host"] == f"127.0.0.1:{server.port}"


def test_a_name_is_resolved_once_and_sent_as_host(
    server: HttpServer, client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the resolver says later cannot move the request elsewhere; the other side still learns the name."""
    asked: list[str] = []

    def resolve(host: str, port: int, **_: object) -> list[object]:
        asked.append(host)
        address = "127.0.0.1" if len(asked) == 1 else "169.254.169.254"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    real = socket.getaddrinfo

    def resolve_names_only(host: str, port: int, *rest: object, **named: object) -> list[object]:
        return resolve(host, port) if host == "hook.example" else real(host, port, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", resolve_names_only)
    for _ in range(2):
        assert client.ask(Request("GET", f"http://hook.example:{server.port}/")).status == 200
    assert asked == ["hook.example"]
    assert [one.headers["host"] for one in server.asked] == [f"hook.example:{server.port}"] * 2


def test_connections_are_used_again_and_not_for_ever(server: HttpServer) -> None:
    """A burst of pages costs one handshake; a minute later the host is resolved anew."""
    now = [0.0]
    client = HttpClient(PATIENT_MS, clock=lambda: now[0])
    for now[0] in (0.0, 30.0, 59.0, 61.0):
        client.ask(Request("GET", server.url))
    assert server.connections == 2
    client.close()


@pytest.mark.parametrize(
    ("address", "is_never_asked"),
    [
        ("169.254.169.254", True),
        ("169.254.0.1", True),
        ("fe80::1", True),
        ("fe80::1%eth0", True),
        ("fd00:ec2::254", True),
        ("fd00:ec2::254%eth0", True),
        ("::ffff:169.254.169.254", True),
        ("64:ff9b::a9fe:a9fe", True),
        ("2002:a9fe:a9fe::1", True),
        ("::169.254.169.254", True),
        ("224.0.0.1", True),
        ("ff02::1", True),
        ("0.0.0.0", True),
        ("::", True),
        ("255.255.255.255", True),
        ("100.100.100.200", True),
        ("127.0.0.1", False),
        ("::1", False),
        ("10.1.2.3", False),
        ("fd00::1", False),
        ("64:ff9b::102:304", False),
        ("93.184.216.34", False),
    ],
)
def test_addresses_that_are_never_asked(address: str, is_never_asked: bool) -> None:
    """Link-local, metadata, multicast and unspecified addresses in all their spellings; private ones are allowed."""
    assert is_forbidden(address) is is_never_asked


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://2852039166/",
        "http://0xA9FEA9FE/",
        "http://[::ffff:a9fe:a9fe]/",
        "http://0.0.0.0:1/",
        "ftp://example.org/",
        "http:///x",
        "http://example.org:99999/",
        "http://example.org/a b",
        "http://example.org/a\r\nX: y",
    ],
)
def test_forbidden_addresses_are_refused_before_anything_is_sent(url: str, client: HttpClient) -> None:
    """Also as one number, which resolvers take for an address, and what is no address of a web service."""
    with pytest.raises(ForbiddenAddressError):
        client.ask(Request("GET", url))


@pytest.mark.parametrize(
    ("url", "target", "host"),
    [
        ("http://a.example", ("http", "a.example", 80, "/"), "a.example"),
        ("https://A.example:443/x?y=1#z", ("https", "a.example", 443, "/x?y=1"), "a.example"),
        ("https://[::1]:9093/", ("https", "::1", 9093, "/"), "[::1]:9093"),
        ("http://bücher.example/", ("http", "xn--bcher-kva.example", 80, "/"), "xn--bcher-kva.example"),
    ],
)
def test_addresses_are_taken_apart(url: str, target: tuple[str, str, int, str], host: str) -> None:
    """Usual ports, literal IPv6 addresses, names that are not ASCII; a fragment is never sent."""
    found = Target.read(url)
    assert (found.scheme, found.host, found.port, found.path) == target
    assert found.host_header == host


@pytest.mark.parametrize(
    "reply",
    [
        Hang(),
        Raw(b"HTTP/1.1 200 OK\r\nX-Slow: ", drip=True),
        Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n", drip=True),
    ],
    ids=["silent", "headers drip", "body drips"],
)
def test_time_is_bounded_in_all(reply: Hang | Raw, server: HttpServer, hurried: HttpClient) -> None:
    """A server that sends a byte now and then does not hold us longer than one that sends none."""
    server.usual = reply
    with pytest.raises(UnreachableError, match=r"^127\.0\.0\.1 did not answer in time$") as late:
        hurried.ask(Request("GET", server.url))
    assert late.value.may_have_arrived


def test_a_slow_handshake_is_bounded(hurried: HttpClient) -> None:
    """One that takes the connection and never speaks TLS neither."""
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(UnreachableError, match="in time") as late:
        hurried.ask(Request("GET", f"https://127.0.0.1:{listener.getsockname()[1]}/"))
    assert not late.value.may_have_arrived


def test_hanging_requests_do_not_pile_up(server: HttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where not even the resolver comes back, at most so many threads wait for it; then we say so at once."""
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: server.closing.wait() and [])
    client = HttpClient(1)
    for _ in range(MOST_ABANDONED):
        with pytest.raises(UnreachableError, match="in time"):
            client.ask(Request("GET", "http://slow.example/"))
    with pytest.raises(UnreachableError, match="still hang"):
        client.ask(Request("GET", "http://slow.example/"))


def test_what_hangs_at_one_address_holds_up_no_other(server: HttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """One member of a cluster whose name does not resolve must not keep alerts from the others."""
    resolve = socket.getaddrinfo

    def resolved(host: str, *given: Any, **named: Any) -> Any:
        return server.closing.wait() and [] if host == "slow.example" else resolve(host, *given, **named)

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    client = HttpClient(10_000)
    for _ in range(MOST_ABANDONED):
        with pytest.raises(UnreachableError, match="in time"):
            client.ask(Request("GET", "http://slow.example/", within_s=0.001))
    assert client.ask(Request("GET", server.url)).status == 200
    with pytest.raises(UnreachableError, match="still hang"):
        client.ask(Request("GET", "http://slow.example/"))


@pytest.mark.parametrize(
    "data",
    [b"", b"\x00\xff garbage\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"],
    ids=["nothing", "garbage", "no status", "cut short"],
)
def test_what_is_no_answer_is_none(data: bytes, server: HttpServer, client: HttpClient) -> None:
    """Neither half an answer nor garbage counts as one: the alert is sent again."""
    server.replies.append(Raw(data))
    with pytest.raises(UnreachableError, match="no HTTP answer") as lost:
        client.ask(Request("GET", server.url))
    assert lost.value.may_have_arrived


def test_what_was_given_up_before_it_was_sent_is_never_sent(
    server: HttpServer, client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resolver that comes back late must not bring a page that counts as not sent."""
    resolve, may_go_on = socket.getaddrinfo, Event()

    def resolved(host: str, *given: Any, **named: Any) -> Any:
        may_go_on.wait()
        return resolve("127.0.0.1", *given, **named)

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    request = client.start(Request("POST", f"http://slow.example:{server.port}/", within_s=0.01))
    with pytest.raises(UnreachableError, match="in time") as late:
        client.result(request)
    may_go_on.set()
    assert request.done.wait(PATIENT_MS)
    assert (server.asked, request.is_sent, late.value.may_have_arrived) == ([], False, False)


def test_nobody_there(client: HttpClient) -> None:
    """A closed port and a name that does not resolve are told in a sentence that holds no path: nobody has read it."""
    with pytest.raises(UnreachableError) as refused:
        client.ask(Request("GET", f"http://127.0.0.1:{closed_port()}/secret-token"))
    with pytest.raises(UnreachableError, match=r"^nobody\.invalid does not resolve$") as nameless:
        client.ask(Request("GET", "http://nobody.invalid/secret-token"))
    assert not refused.value.may_have_arrived
    assert not nameless.value.may_have_arrived
    assert "secret" not in str(refused.value)


def test_large_answers_are_cut(server: HttpServer, client: HttpClient) -> None:
    """Of ten megabytes the first 64 KiB are read, and the next request is answered rightly."""
    server.replies.append(Reply(200, b"x" * 10_000_000))
    answer = client.ask(Request("GET", server.url))
    assert (len(answer.body), answer.is_whole) == (MOST_BYTES, False)
    server.replies.append(Reply(200, b"y" * MOST_BYTES))
    answer = client.ask(Request("GET", server.url))
    assert (answer.body, answer.is_whole) == (b"y" * MOST_BYTES, True)


def test_redirects_are_not_followed(server: HttpServer, client: HttpClient) -> None:
    """What answers elsewhere is not asked, and the sentence says what to set instead."""
    server.replies.append(Reply(302, headers={"Location": "http://169.254.169.254/"}))
    answer = client.ask(Request("POST", server.url, b"x"))
    assert len(server.asked) == 1
    assert outcome_of(answer, 0) == Refused(
        "answered 302: redirects are not followed, set the address that it leads to"
    )


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate for the loopback address and one for another host."""
    folder = tmp_path_factory.mktemp("certificates")
    try:
        for name in ("127.0.0.1", "other.example"):
            made_certificate(folder, name)
    except ServiceUnavailableError as error:
        skip_or_fail(error)
    return folder


def test_certificates_are_checked(certificates: Path) -> None:
    """A stranger's certificate, and one of another host, are refused before anything is sent; a trusted one is taken."""
    pem = certificates / "127.0.0.1.pem"
    with HttpServer(certificate=pem) as server:
        with pytest.raises(UnreachableError, match="certificate is not trusted"):
            HttpClient(PATIENT_MS).ask(Request("GET", server.url))
        trusting = HttpClient(PATIENT_MS, ca_file=certificates / "127.0.0.1.crt")
        assert trusting.ask(Request("GET", server.url)).status == 200
        assert len(server.asked) == 1
        trusting.close()
    with HttpServer(certificate=certificates / "other.example.pem") as server:
        both = HttpClient(PATIENT_MS, ca_file=certificates / "other.example.crt")
        with pytest.raises(UnreachableError, match="certificate is not trusted"):
            both.ask(Request("GET", server.url))
        assert server.asked == []


def test_the_name_counts_in_tls_though_the_address_is_called(
    certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The certificate is held against the host of the settings, not against the address that was resolved."""
    real = socket.getaddrinfo
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *rest, **named: real("127.0.0.1" if host == "other.example" else host, *rest, **named),
    )
    names: list[str | None] = []
    with HttpServer(certificate=certificates / "other.example.pem") as server:
        tls = server._server.tls
        assert tls is not None
        tls.sni_callback = lambda _, name, __: names.append(name)
        client = HttpClient(PATIENT_MS, ca_file=certificates / "other.example.crt")
        assert client.ask(Request("GET", f"https://other.example:{server.port}/")).status == 200
        client.close()
    assert names == ["other.example"]


def test_what_is_no_certificate_is_noticed_at_the_start(tmp_path: Path) -> None:
    """A wrong file of authorities is an error of the settings, not of the first page at night."""
    path = tmp_path / "ca.pem"
    path.write_text("no certificate", encoding="utf-8")
    with pytest.raises(ssl.SSLError):
        HttpClient(PATIENT_MS, ca_file=path)
    with pytest.raises(FileNotFoundError):
        HttpClient(PATIENT_MS, ca_file=tmp_path / "absent.pem")


def test_several_at_once(client: HttpClient) -> None:
    """Members of a cluster are asked side by side: each request waits for the other one's before it is answered."""
    waiting: list[Asked] = []
    with HttpServer() as one, HttpServer() as other:

        def meet(asked: Asked) -> Reply:
            waiting.append(asked)
            while len(waiting) < 2 and not one.closing.wait(0.01):
                pass
            return Reply()

        one.usual = other.usual = meet
        requests = [client.start(Request("GET", server.url)) for server in (one, other)]
        assert [client.result(request).status for request in requests] == [200, 200]


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_success_is_delivered(status: int) -> None:
    """Every 2xx means that the receiver has it."""
    assert outcome_of(Answer(status, {}, b""), 0) == Delivered()


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
def test_what_may_pass_is_retried(status: int) -> None:
    """What may go better later is never given up, and comes when the receiver asks for it."""
    answers = [outcome_of(Answer(status, headers, b""), 0) for headers in ({}, {"retry-after": "7"})]
    may_have_arrived = status >= 500
    assert answers == [Retry(f"answered {status}", after_ms, may_have_arrived) for after_ms in (None, 7_000)]


@pytest.mark.parametrize("status", [300, 301, 302, 307, 308, 400, 401, 403, 404, 410, 413, 422])
def test_what_never_passes_is_refused(status: int) -> None:
    """What would be refused again becomes a dead letter at once."""
    assert isinstance(outcome_of(Answer(status, {}, b""), 0), Refused)


def test_a_refusal_is_quoted_without_secrets() -> None:
    """The sentence of the receiver helps, but not where it repeats our key or moves the cursor of who reads it."""
    answer = Answer(400, {}, b"key R0UT1NG is\r\nunknown \x1b[31m" + b"x" * 10_000)
    outcome = outcome_of(answer, 0, ["R0UT1NG"])
    assert isinstance(outcome, Refused)
    assert outcome.why.startswith("answered 400: key *** is unknown [31mxxx")
    assert len(outcome.why) < 250


@pytest.mark.parametrize(
    ("text", "wait_ms"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("0", 0),
        (" 120 ", 120_000),
        ("99999999999999999999999", 999_999_999_999_000),
        ("Wed, 01 Jan 2025 00:00:10 GMT", 10_000),
        ("Wed, 01 Jan 2020 00:00:00 GMT", 0),
    ],
)
def test_retry_after(text: str | None, wait_ms: int | None) -> None:
    """Seconds and dates are understood, and nonsense says nothing. How much of it is heeded is `Patience`'s to say."""
    assert retry_after_ms(text, 1_735_689_600_000) == wait_ms  # 2025-01-01T00:00Z
