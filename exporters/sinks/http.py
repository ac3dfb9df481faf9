"""Findings by HTTP: one POST a batch, a JSON array of OCSF findings, with a bearer token when one is configured.

Owns the request and what each answer means: delivered, later, on hold, or never. A JSON array and not JSON lines,
because generic receivers parse ``application/json`` without being told how.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final

import aiohttp
import msgspec

from guardian.config import Sink
from guardian.errors import HoldError, MachineError, PoisonError, RetryError

_ANSWER_KEPT: Final = 300
_TOKEN_KEPT: Final = 64 * 1024
_LATER: Final = frozenset({408, 409, 421, 423, 425, 429})
"""Answers below 500 that another attempt may change."""
_NEVER: Final = frozenset({400, 413, 422})
"""Answers about the body itself: the same body will always get them."""


class HttpSink:
    """One HTTP endpoint. Redirects are not followed: they would carry the token to an address nobody configured."""

    def __init__(self, settings: Sink) -> None:
        self._settings = settings
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=settings.timeout_s), cookie_jar=aiohttp.DummyCookieJar()
        )

    async def write(self, items: Sequence[dict[str, Any]]) -> None:
        """Send all items in one request; returns when the receiver answered 2xx.

        ``Idempotency-Key`` names exactly these items, so another batch that begins with the same one is not taken
        for a repetition.

        Raises:
            RetryError: no connection, no answer in time, 408, 429, 5xx and the like.
            HoldError: 401, 403, another refusal that is not about the body (3xx, 404, 405, 415 …), or a token that
                cannot be read.
            PoisonError: 400, 413 or 422: the receiver will never take this body.
        """
        ids = "\n".join(item["metadata"]["uid"] for item in items)
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": hashlib.sha256(ids.encode()).hexdigest(),
        }
        token = _token(self._settings)
        if token:
            headers["Authorization"] = f"Bearer {token}"
        try:
            async with self._session.post(
                self._settings.url, data=msgspec.json.encode(items), headers=headers, allow_redirects=False
            ) as answer:
                if 200 <= answer.status < 300:
                    return
                text = (await answer.content.read(_ANSWER_KEPT)).decode("utf-8", "replace")
                said = " ".join(f"HTTP {answer.status} {text}".split())
                if answer.status in _NEVER:
                    raise PoisonError(said)
                if answer.status in _LATER or answer.status >= 500:
                    raise RetryError(said, _seconds(answer.headers.get("Retry-After", "")))
                raise HoldError(said)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise RetryError(f"{type(error).__name__}: {error}"[:_ANSWER_KEPT]) from None

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()


def check_credentials(settings: Sink) -> None:
    """Refuse to start with a sink whose credential cannot be found.

    Raises:
        MachineError: the variable or file that the configuration names is not there.
    """
    if settings.token_env and settings.token_env not in os.environ:
        raise MachineError(
            f"sinks.{settings.name}.token_env: there is no environment variable {settings.token_env}"
        )
    if settings.token_file and not Path(settings.token_file).is_file():
        raise MachineError(f"sinks.{settings.name}.token_file: there is no file {settings.token_file}")


def _token(settings: Sink) -> str:
    """The bearer token, read anew for each request so that a rotated one is picked up; empty = none is configured.

    Raises:
        HoldError: one is configured and cannot be read, or cannot stand in a header. What it says is not told.
    """
    if settings.token_env:
        place, token = f"token_env {settings.token_env}", os.environ.get(settings.token_env, "").strip()
    elif settings.token_file:
        place = "token_file"
        try:
            with Path(settings.token_file).open(encoding="utf-8") as file:
                token = file.read(_TOKEN_KEPT).strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not text"
            raise HoldError(f"{place} cannot be read: {reason}") from None
    else:
        return ""
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise HoldError(f"{place}: expected one token of printable ASCII characters")
    return token


def _seconds(retry_after: str) -> float:
    """Seconds that a ``Retry-After`` header asks for (RFC 9110, 10.2.3: seconds or a date); 0 = nothing usable.

    >>> _seconds("120"), _seconds("soon"), _seconds("Thu, 01 Jan 1970 00:00:00 GMT")
    (120.0, 0.0, 0.0)
    """
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after[:12])
    try:
        until = parsedate_to_datetime(retry_after)
    except ValueError:
        return 0.0
    return max(0.0, (until - datetime.now(UTC)).total_seconds()) if until.tzinfo else 0.0
