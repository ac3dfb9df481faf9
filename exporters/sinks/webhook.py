"""Alerts to a webhook: one POST an alert, signed as Standard Webhooks 1.0 asks.

Owns the signatures and the order: alerts about one thing are sent one after the other, those about different things
side by side. Whoever may choose the address must not reach what only this machine can reach, so connections go to
public addresses alone unless the settings say otherwise (``exporters.sinks.addresses``).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import time
from collections.abc import Callable, Sequence
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from exporters.sinks import credentials
from exporters.sinks.addresses import PublicOnly
from exporters.sinks.requests import Client, refusal
from guardian.errors import DeliveryError, HoldError, PoisonError, RetryError
from guardian.ports import Answers, Message
from guardian.sink_settings import Webhook

PARALLEL: Final = 8
"""Requests under way at once."""
_SHARED: Final = "whsec_"
_PRIVATE: Final = "whsk_"
_SHARED_BYTES: Final = range(24, 65)
_SEED_BYTES: Final = 32
_PAIR_BYTES: Final = 64
"""Some tools keep the public key behind the seed."""

Sign = Callable[[bytes], str]


class WebhookSink:
    """One endpoint."""

    def __init__(self, settings: Webhook) -> None:
        """Prepare; nothing is connected yet.

        Raises:
            MachineError: a certificate cannot be used.
        """
        self._settings = settings
        self._guard = None if settings.allow_private else PublicOnly()
        self._client = Client(settings, socket_factory=self._guard)
        self._kind = (
            "application/cloudevents+json" if settings.format == "cloudevents" else "application/json"
        )

    async def write(self, messages: Sequence[Message]) -> Answers:
        """Send each message; returns once the receiver has answered 2xx for what is not named as refused.

        After an answer that is about the receiver (down, busy, another credential) no further one is tried.

        Raises:
            RetryError: no connection, no answer in time, 408, 429, 5xx and the like.
            HoldError: 401, 403, 410, a redirect and the like, an address that is not public, or a secret that cannot
                be read.
        """
        signers = _signers(credentials.lines(self._settings, "secret"))
        if self._guard is not None:
            self._guard.refused = ""
        findings: dict[str, list[Message]] = {}
        for message in messages:
            findings.setdefault(message.finding, []).append(message)
        refused: dict[str, DeliveryError] = {}
        waiting = iter(findings.values())
        ended: list[DeliveryError] = []

        async def send() -> None:
            for about_one in waiting:
                for message in about_one:
                    if ended:
                        refused[message.id] = ended[0]
                        continue
                    try:
                        await self._send(message, signers)
                    except PoisonError as error:
                        refused[message.id] = error
                    except DeliveryError as error:
                        refused[message.id] = error
                        ended.append(error)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(PARALLEL, len(findings))):
                group.create_task(send())
        if ended and len(refused) == len(messages):
            raise ended[0]
        return Answers(refused)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _send(self, message: Message, signers: Sequence[Sign]) -> None:
        stamp = str(int(time.time()))
        headers = {"Content-Type": self._kind, "webhook-id": message.id, "webhook-timestamp": stamp}
        if signers:
            signed = b".".join((message.id.encode(), stamp.encode(), message.body))
            headers["webhook-signature"] = " ".join(sign(signed) for sign in signers)
        try:
            reply = await self._client.post(self._settings.url, message.body, headers)
        except RetryError:
            if self._guard is not None and self._guard.refused:
                raise HoldError(
                    f"the address leads to {self._guard.refused}, which is not public; allow_private permits it"
                ) from None
            raise
        if not reply.taken:
            raise refusal(reply)


def _signers(secrets: Sequence[str]) -> list[Sign]:
    """One function a secret, from what is signed to what stands in the header.

    Raises:
        HoldError: one is not a secret of Standard Webhooks. What it says is not told.
    """
    return [_signer(secret) for secret in secrets]


def _signer(secret: str) -> Sign:
    for prefix in (_SHARED, _PRIVATE):
        if secret.startswith(prefix):
            try:
                key = base64.b64decode(secret.removeprefix(prefix), validate=True)
            except (binascii.Error, ValueError):
                raise HoldError(f"secret: expected base64 behind {prefix}") from None
            return _shared(key) if prefix == _SHARED else _private(key)
    raise HoldError(f"secret: expected {_SHARED}… or {_PRIVATE}…")


def _shared(key: bytes) -> Sign:
    if len(key) not in _SHARED_BYTES:
        raise HoldError(f"secret: expected 24 to 64 bytes behind {_SHARED}, got {len(key)}")
    return lambda data: "v1," + base64.b64encode(hmac.digest(key, data, "sha256")).decode()


def _private(key: bytes) -> Sign:
    if len(key) not in (_SEED_BYTES, _PAIR_BYTES):
        raise HoldError(f"secret: expected 32 or 64 bytes behind {_PRIVATE}, got {len(key)}")
    pair = Ed25519PrivateKey.from_private_bytes(key[:_SEED_BYTES])
    if key[_SEED_BYTES:] not in (b"", pair.public_key().public_bytes_raw()):
        raise HoldError(f"secret: the second half behind {_PRIVATE} is not the public key of the first")
    return lambda data: "v1a," + base64.b64encode(pair.sign(data)).decode()
