"""Findings by HTTP: one POST a batch, a JSON array of OCSF findings, with a bearer token when one is configured."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import aiohttp
import msgspec

from exporters.delivery import AuthorisationError, PoisonError, RetryError
from guardian.config import Sink
from guardian.errors import MachineError

_ANSWER_KEPT: Final = 300
_REFUSED: Final = frozenset({400, 404, 405, 406, 410, 411, 413, 414, 415, 422, 431})
"""Answers that the same body will always get. 404 too: the receiver says there is nothing to deliver to."""


class HttpSink:
    """One HTTP endpoint."""

    def __init__(self, settings: Sink) -> None:
        self._settings = settings
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=settings.timeout_s))

    async def write(self, items: Sequence[dict[str, Any]]) -> None:
        """Send all items in one request; returns when the receiver answered 2xx.

        Raises:
            RetryError: nothing, 429 or 5xx came back; with the wait that the receiver asked for.
            AuthorisationError: 401 or 403: the credential does not work (now).
            PoisonError: the receiver will never take this body.
        """
        headers = {"Content-Type": "application/json", "Idempotency-Key": items[0]["metadata"]["uid"]}
        token = self._token()
        if token:
            headers["Authorization"] = f"Bearer {token}"
        try:
            async with self._session.post(
                self._settings.url, data=msgspec.json.encode(items), headers=headers, allow_redirects=False
            ) as answer:
                if 200 <= answer.status < 300:
                    return
                text = (await answer.content.read(_ANSWER_KEPT)).decode("utf-8", "replace")
                said = f"HTTP {answer.status}: {text}".strip()
                if answer.status in (401, 403):
                    raise AuthorisationError(said)
                if answer.status in _REFUSED:
                    raise PoisonError(said)
                raise RetryError(said, _seconds(answer.headers.get("Retry-After", "")))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise RetryError(f"{type(error).__name__}: {error}") from None

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    def _token(self) -> str:
        """The bearer token, read anew for each request so that a rotated one is picked up."""
        if self._settings.token_env:
            return os.environ.get(self._settings.token_env, "")
        if self._settings.token_file:
            try:
                return Path(self._settings.token_file).read_text(encoding="utf-8").strip()
            except OSError as error:
                raise AuthorisationError(f"token_file cannot be read: {error.strerror}") from None
        return ""


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


def _seconds(value: str) -> float | None:
    return float(value) if value.isascii() and value.isdigit() else None
