"""One POST and its answer, as every sink over HTTP makes it.

Owns connections, limits, and what an answer means where a protocol says nothing else: delivered, later, on hold, or
never. Does not own any protocol. Redirects are not followed: they would carry the credential to an address nobody
configured. Of an answer no more is read than was asked for, undecoded, so that a compressed one cannot grow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from socket import socket
from typing import Any, Final, TypeVar

import aiohttp
import msgspec

from exporters.sinks import credentials
from guardian.errors import DeliveryError, HoldError, MachineError, PoisonError, RetryError

SAID: Final = 300
"""Characters of an answer that are kept."""
LATER: Final = frozenset({408, 409, 421, 423, 425, 429})
"""Answers below 500 that another attempt may change."""
NEVER: Final = frozenset({400, 413, 422})
"""Answers about the body itself: the same body will always get them."""

SocketFactory = Callable[[tuple[Any, ...]], socket]
_Shape = TypeVar("_Shape")


@dataclass(frozen=True, slots=True)
class Reply:
    """What a receiver answered."""

    status: int
    body: bytes
    """As much of it as was asked for."""
    kind: str
    """Its media type."""
    said: str
    """Status and text for a person, short, without the credential that was sent."""
    wait_s: float
    """What ``Retry-After`` asks for; 0 = nothing."""

    @property
    def taken(self) -> bool:
        """The receiver answered 2xx."""
        return 200 <= self.status < 300

    def read(self, shape: type[_Shape]) -> _Shape | None:
        """The body as JSON of this shape; None = it is not."""
        try:
            return msgspec.json.decode(self.body, type=shape)
        except (msgspec.DecodeError, RecursionError):
            return None


class Client:
    """The connections of one sink."""

    def __init__(
        self, settings: Any, *, cookies: bool = False, socket_factory: SocketFactory | None = None
    ) -> None:
        """Prepare; nothing is opened before the first ``post``.

        Args:
            settings: of the sink: ``timeout_s`` and its certificates, which may be replaced meanwhile.
            cookies: whether to send back what the receiver sets, as routing by session needs it.
            socket_factory: makes the socket for the very address that is connected to; may refuse it by OSError.

        Raises:
            MachineError: a certificate cannot be used.
        """
        self._settings = settings
        self._cookies = cookies
        self._socket_factory = socket_factory
        self._age = credentials.age(settings)
        self._tls = credentials.tls(settings)
        self._session: aiohttp.ClientSession | None = None

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], *, answer_bytes: int = 0
    ) -> Reply:
        """Send one request, and read ``answer_bytes`` of what a receiver that takes it answers.

        Raises:
            RetryError: there is no connection, or no answer in time.
            HoldError: the address, the receiver's certificate or ours cannot be used.
        """
        session = await self._opened()
        try:
            async with session.post(url, data=body, headers=headers, allow_redirects=False) as answer:
                most = answer_bytes if 200 <= answer.status < 300 else max(answer_bytes, SAID)
                data = await _up_to(most, answer.content)
                return Reply(
                    answer.status,
                    data,
                    answer.content_type,
                    _said(answer.status, data, headers),
                    seconds(answer.headers.get("Retry-After", "")),
                )
        except (aiohttp.InvalidURL, UnicodeError):
            raise HoldError("InvalidURL: the address cannot be used") from None
        except aiohttp.ClientConnectorCertificateError as error:
            raise HoldError(_sentence(error)) from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise RetryError(_sentence(error)) from None

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def _opened(self) -> aiohttp.ClientSession:
        """The session; a new one once a certificate was replaced, as those that last days are."""
        age = credentials.age(self._settings)
        if age != self._age:
            try:
                self._tls = credentials.tls(self._settings)
            except MachineError as error:
                raise HoldError(str(error)) from None
            self._age = age
            old, self._session = self._session, None
            if old is not None:
                await old.close()
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=self._tls, socket_factory=self._socket_factory),
                timeout=aiohttp.ClientTimeout(total=self._settings.timeout_s),
                cookie_jar=aiohttp.CookieJar(unsafe=True) if self._cookies else aiohttp.DummyCookieJar(),
                headers={"User-Agent": "tamv-guardian", "Accept-Encoding": "identity"},
                auto_decompress=False,
            )
        return self._session


def refusal(reply: Reply) -> DeliveryError:
    """What an answer other than 2xx means where the protocol says nothing else."""
    if reply.status in NEVER:
        return PoisonError(reply.said)
    if reply.status in LATER or reply.status >= 500:
        return RetryError(reply.said, reply.wait_s)
    return HoldError(reply.said)


def at(url: str, path: str) -> str:
    """An address below a configured one.

    >>> at("https://siem.example:9200/", "/_bulk")
    'https://siem.example:9200/_bulk'
    """
    return url.rstrip("/") + path


def seconds(retry_after: str) -> float:
    """Seconds that a ``Retry-After`` header asks for (RFC 9110, 10.2.3: seconds or a date); 0 = nothing usable.

    >>> seconds("120"), seconds("soon"), seconds("Thu, 01 Jan 1970 00:00:00 GMT")
    (120.0, 0.0, 0.0)
    """
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after[:12])
    try:
        until = parsedate_to_datetime(retry_after)
    except ValueError:
        return 0.0
    return max(0.0, (until - datetime.now(UTC)).total_seconds()) if until.tzinfo else 0.0


def short(text: str) -> str:
    r"""Text of a receiver as one printable line, cut.

    >>> short("a\x00b\n c")
    'a b c'
    """
    return " ".join("".join(c if c.isprintable() else " " for c in text[: 2 * SAID]).split())[:SAID]


async def _up_to(most: int, content: aiohttp.StreamReader) -> bytes:
    data = bytearray()
    while len(data) < most and (chunk := await content.read(most - len(data))):
        data += chunk
    return bytes(data)


def _said(status: int, data: bytes, headers: Mapping[str, str]) -> str:
    text = data[: 2 * SAID].decode("utf-8", "replace")
    credential = headers.get("Authorization", "").rpartition(" ")[2]
    if credential:
        # A receiver may repeat what it was shown.
        text = text.replace(credential, "…")
    return short(f"HTTP {status} {text}")


def _sentence(error: Exception) -> str:
    """Without the address: some hold a secret."""
    if isinstance(error, aiohttp.ClientResponseError):
        return short(f"{type(error).__name__}: {error.status} {error.message}")
    return short(f"{type(error).__name__}: {error}")
