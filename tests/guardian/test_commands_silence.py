"""``guardian silence``, against a service that answers as it is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from guardian import cli, commands_silence, texts
from guardian.errors import InputError
from guardian.gateway import client

ITEM = {
    "id": "s1",
    "role": "target",
    "entity": "[red]web-*\x1b[31m",
    "layer": None,
    "channel": None,
    "kind": None,
    "levelAtMost": "high",
    "owner": "ana",
    "reason": "despliegue",
    "startsAt": "2027-01-15T08:00:00.000Z",
    "endsAt": "2027-01-15T09:00:00.000Z",
    "createdAt": "2027-01-15T08:00:00.000Z",
    "state": "active",
    "endedBy": None,
    "msrIndex": 7,
}

Guardian = Callable[..., Result]


@pytest.fixture
def asked() -> list[tuple[Any, ...]]:
    return []


@pytest.fixture
def guardian(monkeypatch: pytest.MonkeyPatch, asked: list[tuple[Any, ...]]) -> Guardian:
    def ask(url: str, path: str, body: Any = None, *, key: str, method: str = "") -> Any:
        asked.append((url, path, body, method))
        return {"items": [ITEM], "total": 3} if key == "items" else ITEM

    monkeypatch.setattr(client, "ask", ask)

    def run(*arguments: str, language: texts.Language = "en") -> Result:
        environment = {"COLUMNS": "300"}
        return CliRunner().invoke(cli.build(language), ["silence", *arguments], env=environment)

    return run


def test_adding(guardian: Guardian, asked: list[Any]):
    out = guardian("add", "--entity", "web-*", "--role", "target", "--reason", "x", "--for", "2h")
    assert out.exit_code == 0
    assert "s1" in out.output
    assert "in force" in out.output
    assert "role=target, entity=[red]web-*\\x1b[31m, ≤ high" in out.output
    assert "registered as MSR entry 7" in out.output
    ((url, path, body, method),) = asked
    assert (url, path, method) == ("http://127.0.0.1:8787", "/api/v1/silences", "")
    ends = datetime.fromisoformat(body.pop("endsAt"))
    assert timedelta(hours=1.9) < ends - datetime.now(UTC) <= timedelta(hours=2)
    assert body == {"role": "target", "entity": "web-*", "reason": "x", "levelAtMost": "critical"}


def test_listing(guardian: Guardian, asked: list[Any]):
    out = guardian("list", language="es-MX")
    assert "vigente" in out.output
    assert "≤ alto" in out.output
    assert "1 de 3" in out.output
    out = guardian("list", "--all", "--limit", "2", "--offset", "4", "--json", "--url", "http://127.0.0.1:1")
    assert json.loads(out.output) == {"items": [ITEM], "total": 3}
    assert [each[1] for each in asked] == [
        "/api/v1/silences?active=true&limit=50&offset=0",
        "/api/v1/silences?active=false&limit=2&offset=4",
    ]


def test_ending(guardian: Guardian, asked: list[Any]):
    assert json.loads(guardian("end", "../s 1", "--json").output) == ITEM
    assert asked == [("http://127.0.0.1:8787", "/api/v1/silences/..%2Fs%201", None, "DELETE")]


@pytest.mark.parametrize("language", texts.LANGUAGES)
def test_help(guardian: Guardian, language: texts.Language):
    shown = guardian("--help", language=language).output
    assert all(command in shown for command in ("add", "list", "end"))
    for command in ("add", "list", "end"):
        assert f"guardian silence {command}" in guardian(command, "--help", language=language).output


def test_times():
    def request(**more: str | None) -> dict[str, str]:
        given: dict[str, str | None] = {"begin": None, "until": None, "during": None}
        return commands_silence.request({"kind": None, "reason": "r"}, **given | more)

    assert request(begin="2030-01-01T06:00:00-06:00", during="90m") == {
        "reason": "r",
        "startsAt": "2030-01-01T12:00:00+00:00",
        "endsAt": "2030-01-01T13:30:00+00:00",
    }
    assert request(until="2030-01-01T12:00:00Z")["endsAt"] == "2030-01-01T12:00:00+00:00"
    for more, said in (
        ({}, "one of --until and --for"),
        ({"until": "2030-01-01", "during": "1h"}, "one of --until and --for"),
        ({"until": "soon"}, "--until: expected a time"),
        ({"begin": "soon", "during": "1h"}, "--from: expected a time"),
        ({"during": "long"}, "--for: expected a duration"),
        ({"begin": "9999-12-31", "during": "7d"}, "--for: expected a duration"),
    ):
        with pytest.raises(InputError, match=said):
            request(**more)
