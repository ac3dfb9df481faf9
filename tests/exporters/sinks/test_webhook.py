"""The webhook sink: signatures that a verifier written from the specification takes, order, and where it may go."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from exporters.sinks import webhook as module
from exporters.sinks.webhook import WebhookSink
from guardian.errors import DeliveryError, HoldError, PoisonError, RetryError
from guardian.ports import Answers, Message
from guardian.sink_settings import Webhook
from tests.receivers_http import message, messages, served

TOLERANCE_S = 300


def verified(headers: Any, body: bytes, key: bytes | Ed25519PublicKey, *, now: float) -> bool:
    """Verification as Standard Webhooks describes it: any one signature of the known version suffices."""
    name, stamp = headers["webhook-id"], headers["webhook-timestamp"]
    if "." in name or not stamp.isdigit() or abs(now - int(stamp)) > TOLERANCE_S:
        return False
    content = f"{name}.{stamp}.".encode() + body
    for part in headers["webhook-signature"].split(" "):
        version, _, text = part.partition(",")
        signature = base64.b64decode(text, validate=True)
        if version == "v1" and isinstance(key, bytes):
            if hmac.compare_digest(signature, hmac.new(key, content, hashlib.sha256).digest()):
                return True
        elif version == "v1a" and isinstance(key, Ed25519PublicKey):
            try:
                key.verify(signature, content)
            except InvalidSignature:
                continue
            return True
    return False


def shared(key: bytes) -> str:
    return "whsec_" + base64.b64encode(key).decode()


def private(key: bytes) -> str:
    return "whsk_" + base64.b64encode(key).decode()


class Endpoint:
    """A receiver that keeps what it was sent, and answers as it is told."""

    def __init__(self, answer: Callable[[web.Request], int] = lambda _: 204) -> None:
        self.answer = answer
        self.asked: list[web.Request] = []
        self.bodies: list[bytes] = []
        self.under_way = 0
        self.most = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        self.bodies.append(await request.read())
        self.asked.append(request)
        await asyncio.sleep(0.001)
        self.under_way -= 1
        return web.Response(status=self.answer(request), headers={"Retry-After": "5", "Location": "/x"})

    def ids(self) -> list[str]:
        return [request.headers["webhook-id"] for request in self.asked]

    @asynccontextmanager
    async def sink(self, **settings: Any) -> AsyncIterator[WebhookSink]:
        async with served(self.handle) as url, sink(f"{url}/hook", allow_private=True, **settings) as made:
            yield made


@asynccontextmanager
async def sink(url: str, **settings: Any) -> AsyncIterator[WebhookSink]:
    made = WebhookSink(Webhook(name="hook", url=url, **settings))
    try:
        yield made
    finally:
        await made.close()


async def test_signatures_while_one_secret_replaces_another(tmp_path: Path) -> None:
    old, new = os.urandom(24), os.urandom(64)
    seed = Ed25519PrivateKey.generate()
    public = seed.public_key()
    pair = seed.private_bytes_raw() + public.public_bytes_raw()
    file = tmp_path / "secrets"
    file.write_text(f"{shared(old)}\n{shared(new)}\n{private(seed.private_bytes_raw())}\n{private(pair)}\n")
    endpoint = Endpoint()
    async with endpoint.sink(secret_file=str(file)) as made:
        assert await made.write(messages(1)) == Answers()
        file.write_text(shared(new))
        await made.write(messages(1))
    (both, one), (body, _) = endpoint.asked, endpoint.bodies
    assert body == message(0).body
    assert both.content_type == "application/cloudevents+json"
    now = time.time()
    for key in (old, new, public):
        assert verified(both.headers, body, key, now=now)
        assert not verified(both.headers, body + b" ", key, now=now)
        assert not verified(both.headers, body, key, now=now + 301)
        assert not verified({**both.headers, "webhook-id": "other"}, body, key, now=now)
    assert not verified(both.headers, body, os.urandom(24), now=now)
    assert verified(one.headers, body, new, now=now)
    assert not verified(one.headers, body, old, now=now)


def test_a_known_answer() -> None:
    """Of the specification's own libraries."""
    (sign,) = module._signers(["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"])
    content = b'msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{"test": 2432232314}'
    assert sign(content) == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@given(st.binary(min_size=24, max_size=64), st.binary(max_size=200))
def test_every_body_is_signed(key: bytes, body: bytes) -> None:
    (sign,) = module._signers([shared(key)])
    headers = {"webhook-id": "a", "webhook-timestamp": "5", "webhook-signature": sign(b"a.5." + body)}
    assert verified(headers, body, key, now=5)


@pytest.mark.parametrize(
    "secret",
    [
        "s3cr3t",
        "whsec_",
        "whsec_!!!!",
        "whsec_ñ",
        shared(b"short"),
        shared(bytes(65)),
        private(bytes(31)),
        private(bytes(64)),
        "whpk_" + base64.b64encode(bytes(32)).decode(),
    ],
)
async def test_secrets_that_are_none_are_not_told(tmp_path: Path, secret: str) -> None:
    file = tmp_path / "secrets"
    file.write_text(secret)
    endpoint = Endpoint()
    async with endpoint.sink(secret_file=str(file)) as made:
        with pytest.raises(HoldError, match="secret: ") as caught:
            await made.write(messages(1))
    assert secret not in caught.value.said.replace("whsec_…", "").replace("behind whsec_", "")
    assert not endpoint.asked


async def test_without_a_secret_nothing_is_signed() -> None:
    endpoint = Endpoint()
    async with endpoint.sink(format="ocsf") as made:
        await made.write(messages(1))
    assert "webhook-signature" not in endpoint.asked[0].headers
    assert endpoint.asked[0].content_type == "application/json"


async def test_one_thing_at_a_time_and_different_things_side_by_side() -> None:
    endpoint = Endpoint()
    sent = [message(number, finding=f"{number % 20}") for number in range(100)]
    async with endpoint.sink() as made:
        assert await made.write(sent) == Answers()
    place = {name: index for index, name in enumerate(endpoint.ids())}
    assert len(place) == 100
    for earlier, later in zip(sent, sent[20:], strict=False):
        assert place[earlier.id] < place[later.id]
    assert 1 < endpoint.most <= module.PARALLEL


@pytest.mark.parametrize(
    ("status", "error"),
    [
        *((status, RetryError) for status in (408, 429, 500, 502, 503, 504)),
        *((status, HoldError) for status in (301, 302, 401, 403, 404, 410)),
    ],
)
async def test_after_an_answer_about_the_receiver_it_is_left_alone(
    status: int, error: type[DeliveryError]
) -> None:
    endpoint = Endpoint(lambda _: status)
    async with endpoint.sink() as made:
        with pytest.raises(error, match=f"HTTP {status}") as caught:
            await made.write(messages(500))
    assert len(endpoint.asked) <= module.PARALLEL
    if isinstance(caught.value, RetryError):
        assert caught.value.wait_s == 5.0


async def test_what_was_taken_before_is_delivered() -> None:
    endpoint = Endpoint(lambda request: 503 if request.headers["webhook-id"] == message(50).id else 200)
    sent = messages(100)
    async with endpoint.sink() as made:
        answers = await made.write(sent)
    assert {each.id for each in sent} - set(answers.refused) == set(endpoint.ids()) - {message(50).id}
    assert {type(error) for error in answers.refused.values()} == {RetryError}
    assert len(answers.refused) < 100


async def test_a_message_that_is_refused_alone() -> None:
    endpoint = Endpoint(lambda request: 422 if request.headers["webhook-id"] == message(3).id else 200)
    async with endpoint.sink() as made:
        answers = await made.write(messages(10))
    assert list(answers.refused) == [message(3).id]
    assert type(answers.refused[message(3).id]) is PoisonError
    assert len(endpoint.asked) == 10


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "2130706433", "0x7f000001", "[::ffff:127.0.0.1]"]
)
async def test_what_only_this_machine_can_reach_is_not_reached(host: str) -> None:
    endpoint = Endpoint()
    async with served(endpoint.handle) as url:
        port = url.rpartition(":")[2]
        async with sink(f"http://{host}:{port}/hook") as made:
            with pytest.raises(HoldError, match=r"not public; allow_private|the address cannot be used"):
                await made.write(messages(20))
    assert not endpoint.asked


async def test_a_name_that_points_elsewhere_a_moment_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection resolves once, and the address that was checked is the one that is connected to."""
    resolved: list[str] = []
    connected: list[str] = []
    addresses = iter(["1.1.1.1", "127.0.0.1"])

    async def rebinds(_loop: Any, host: str, port: int, **_: Any) -> list[Any]:
        resolved.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (next(addresses), port))]

    async def refuses(_loop: Any, _sock: socket.socket, address: tuple[str, int]) -> None:
        connected.append(address[0])
        raise ConnectionRefusedError(111, "refused")

    loop_type = type(asyncio.get_running_loop())
    with monkeypatch.context() as patch:
        patch.setattr(loop_type, "getaddrinfo", rebinds)
        patch.setattr(loop_type, "sock_connect", refuses)
        for error in (RetryError, HoldError):
            async with sink("http://rebind.example/hook") as made:
                with pytest.raises(error):
                    await made.write(messages(1))
    assert resolved == ["rebind.example"] * 2
    assert connected == ["1.1.1.1"]


async def test_nobody_listens() -> None:
    async with sink("http://127.0.0.1:9/hook/s3cr3t", allow_private=True) as made:
        with pytest.raises(RetryError) as caught:
            await made.write([Message("a", "f", 0, message(0).level, b"{}")])
    assert "s3cr3t" not in caught.value.said
