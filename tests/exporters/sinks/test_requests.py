"""One POST and its answer: what is read of it, what it means, and what is never told."""

from __future__ import annotations

import asyncio
import gzip
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from exporters.sinks.requests import Client, Reply, refusal, seconds, short
from guardian.errors import DeliveryError, HoldError, PoisonError, RetryError
from guardian.sink_settings import Http
from tests.receivers_http import served


@asynccontextmanager
async def client(**settings: Any) -> AsyncIterator[Client]:
    made = Client(Http(name="siem", url="http://127.0.0.1:9", **settings))
    try:
        yield made
    finally:
        await made.close()


@pytest.mark.parametrize(
    ("status", "error"),
    [
        *((status, RetryError) for status in (408, 409, 421, 423, 425, 429, 500, 502, 503, 504, 599)),
        *((status, HoldError) for status in (301, 302, 307, 401, 403, 404, 405, 410, 415)),
        *((status, PoisonError) for status in (400, 413, 422)),
    ],
)
def test_what_answers_mean(status: int, error: type[DeliveryError]) -> None:
    meant = refusal(Reply(status, b"", "", "said", 7.0))
    assert type(meant) is error
    assert meant.said == "said"
    if isinstance(meant, RetryError):
        assert meant.wait_s == 7.0


async def test_no_more_is_read_than_was_asked_for() -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(status=int(request.path[1:]))
        await answer.prepare(request)
        try:
            while True:
                await answer.write(b"why\x00\n " * 1000)
        except (ConnectionError, OSError):
            return answer

    async with served(endless) as url, client() as made:
        refused = await made.post(f"{url}/400", b"", {})
        assert len(refused.body) == 300
        assert refused.said.startswith("HTTP 400 why why")
        assert len(refused.said) <= 300
        assert refused.said.isprintable()
        assert (await made.post(f"{url}/200", b"", {})).body == b""
        assert len((await made.post(f"{url}/200", b"", {}, answer_bytes=50_000)).body) == 50_000


async def test_a_compressed_answer_does_not_grow() -> None:
    async def bomb(request: web.Request) -> web.StreamResponse:
        assert request.headers["Accept-Encoding"] == "identity"
        return web.Response(body=gzip.compress(bytes(10**6)), headers={"Content-Encoding": "gzip"})

    async with served(bomb) as url, client() as made:
        reply = await made.post(url, b"", {}, answer_bytes=2**20)
        assert len(reply.body) < 2000
        assert reply.read(dict) is None


async def test_a_credential_that_is_sent_back_is_not_told() -> None:
    async def echo(request: web.Request) -> web.StreamResponse:
        return web.Response(status=403, text=f"no: {request.headers['Authorization']}")

    async with served(echo) as url, client() as made:
        reply = await made.post(url, b"", {"Authorization": "Bearer s3cr3t"})
    assert reply.said == "HTTP 403 no: Bearer …"


async def test_cookies_are_kept_only_where_they_are_wanted() -> None:
    seen: list[str] = []

    async def sets(request: web.Request) -> web.StreamResponse:
        seen.append(request.headers.get("Cookie", ""))
        return web.Response(headers={"Set-Cookie": "node=a"})

    async with served(sets) as url:
        for cookies in (False, True):
            made = Client(Http(name="siem", url=url), cookies=cookies)
            for _ in range(2):
                await made.post(url, b"", {})
            await made.close()
    assert seen == ["", "", "", "node=a"]


async def test_nobody_listens_or_answers() -> None:
    async with client() as made:
        with pytest.raises(RetryError, match="Connect"):
            await made.post("http://127.0.0.1:9/secret-path", b"", {})

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()  # until the other side gives up
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with server, client(timeout_s=0.1) as made:
        with pytest.raises(RetryError, match="Timeout"):
            await made.post(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", b"", {})
    await asyncio.sleep(0.01)


async def test_an_answer_that_is_not_http_tells_no_address() -> None:
    async def odd(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"220 smtp.example.org ESMTP\r\n")
        writer.close()

    server = await asyncio.start_server(odd, "127.0.0.1", 0)
    async with server, client() as made:
        with pytest.raises(RetryError) as caught:
            await made.post(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook/s3cr3t", b"", {})
    assert "s3cr3t" not in caught.value.said
    assert len(caught.value.said) <= 300


@pytest.mark.parametrize(
    "url", ["http://", "http://127.0.0.1:99999/", "http://a..b/", "http://[::1", "http://ñ" + "x" * 70]
)
async def test_an_address_that_is_none(url: str) -> None:
    async with client() as made:
        with pytest.raises(HoldError, match="address"):
            await made.post(url, b"", {})


def authority(folder: Path) -> tuple[Path, Path]:
    """A certificate of its own authority for 127.0.0.1, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return folder / "cert.pem", folder / "key.pem"


async def test_who_is_trusted_and_who_we_are(tmp_path: Path) -> None:
    cert, key = authority(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(cert))
    context.load_cert_chain(cert, key)
    context.verify_mode = ssl.CERT_REQUIRED

    async def who(request: web.Request) -> web.StreamResponse:
        return web.Response(text=str(request.transport.get_extra_info("peercert")["serialNumber"]))

    async with served(who, ssl_context=context) as url:
        async with client() as made:
            with pytest.raises(HoldError, match=r"[Cc]ertificate"):
                await made.post(url, b"", {})
        async with client(ca_file=str(cert)) as made:
            with pytest.raises(RetryError):
                await made.post(url, b"", {}, answer_bytes=10)
        async with client(ca_file=str(cert), cert_file=str(cert), key_file=str(key)) as made:
            assert (await made.post(url, b"", {}, answer_bytes=10)).body == b"01"


async def test_a_certificate_that_is_replaced(tmp_path: Path) -> None:
    cert, key = authority(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)

    async def ok(_: web.Request) -> web.StreamResponse:
        return web.Response()

    other = tmp_path / "other"
    other.mkdir()
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(authority(other)[0].read_bytes())
    async with served(ok, ssl_context=context) as url, client(ca_file=str(trusted)) as made:
        with pytest.raises(HoldError, match=r"[Cc]ertificate"):
            await made.post(url, b"", {})
        trusted.write_text("half of it")
        with pytest.raises(HoldError, match=r"sinks\.siem\.ca_file: cannot be used"):
            await made.post(url, b"", {})
        trusted.write_bytes(cert.read_bytes())
        assert (await made.post(url, b"", {})).taken


class Shape(msgspec.Struct):
    number: int


@given(st.binary(max_size=60))
def test_whatever_a_body_holds_is_read_or_is_not(body: bytes) -> None:
    found = Reply(200, body, "", "", 0.0).read(Shape)
    assert found is None or isinstance(found.number, int)


def test_a_body_that_is_deep_is_not_read() -> None:
    assert Reply(200, b'{"x":' + b"[" * 100_000, "", "", 0.0).read(Shape) is None


def test_how_long_a_receiver_asks_to_wait() -> None:
    assert seconds("0") == 0.0
    assert seconds("120") == 120.0
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    assert 80.0 < seconds(soon) <= 90.0
    assert seconds("Thu, 01 Jan 1970 00:00:00 GMT") == 0.0
    for unusable in ("", "soon", "-5", "1.5", "٣", "Thu, 99 Foo 99999 99:99:99 GMT"):
        assert seconds(unusable) == 0.0


@given(
    st.one_of(st.text(max_size=60), st.from_regex(r"\w{3}, \d{1,9} \w{3} \d{1,9} [\d:]{0,12} [+\-\w]{0,8}"))
)
def test_whatever_stands_in_retry_after_is_a_wait(value: str) -> None:
    assert 0.0 <= seconds(value) < float("inf")


@given(st.text(max_size=2000))
def test_what_is_told_is_one_short_line(text: str) -> None:
    assert len(short(text)) <= 300
    assert short(text).isprintable()
