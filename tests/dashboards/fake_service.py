"""A stand-in for the service: the page, its texts and the JSON routes, from a state that a test chooses.

It answers with the Content-Security-Policy that the real one sets. ``python fake_service.py STATE [PORT]`` serves one
state for looking at it.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from aiohttp import web

from guardian.levels import level_of
from guardian.texts import catalogue

CONSOLE = Path(__file__).parents[2] / "dashboards" / "console"
POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'"
EMPTY_LIST = {"items": [], "total": 0, "limit": 20, "offset": 0}
HOSTILE = "<img src=x onerror=\"document.title='pwned'\"><script>document.title='pwned'</script>"


def _list(items: list[dict[str, Any]], total: int | None = None) -> dict[str, Any]:
    return {"items": items, "total": len(items) if total is None else total, "limit": 20, "offset": 0}


def _reason(channel: str, contribution: float, kind: str, without: float = 0.0) -> dict[str, Any]:
    return {
        "channel": channel,
        "contribution": contribution,
        "kind": kind,
        "event": 12,
        "scoreWithout": without,
        "levelWithout": level_of(without).word,
    }


def _entity(role: str, entity: str, score: float, level: str, *reasons: dict[str, Any]) -> dict[str, Any]:
    return {
        "role": role,
        "entity": entity,
        "score": score,
        "level": level,
        "firstSeen": "2026-11-03T04:00:00Z",
        "lastSeen": "2026-11-03T18:41:02Z",
        "events": 1_284,
        "reasons": list(reasons),
    }


def empty() -> dict[str, Any]:
    """A service that has just started."""
    lists = (
        "alerts",
        "acknowledgements",
        "entities",
        "msr/events",
        "bookpi/entries",
        "isabella/decisions",
        "protocols/events",
    )
    return {
        "guardian": {
            "level": "none",
            "score": 0.0,
            "updatedAt": None,
            "events": 0,
            "late": 0,
            "synthetic": False,
            "layers": {},
            "protocols": {},
            "top": [],
        },
        **dict.fromkeys((*lists, "eoct/evaluations"), EMPTY_LIST),
    }


def _decisions() -> dict[str, Any]:
    at = "2026-11-03T18:40:5{}Z"
    return {
        "protocols/events": _list(
            [
                {
                    "id": "p3",
                    "protocolId": "economy",
                    "phase": "rejected",
                    "command": {"action": "forzar_membresia"},
                    "decision": {
                        "allowed": False,
                        "reasons": ["coercion_not_allowed", "do_not_override_doctrine"],
                        "severity": "critical",
                    },
                    "createdAt": at.format(3),
                },
                {
                    "id": "p2",
                    "protocolId": "dreamspaces",
                    "phase": "executed",
                    "command": {"action": "abrir_sala"},
                    "decision": {"allowed": True, "reasons": [], "severity": "low"},
                    "createdAt": at.format(1),
                },
            ],
            212,
        ),
        "isabella/decisions": _list(
            [
                {
                    "id": f"i{n}",
                    "actorId": "u",
                    "outcome": outcome,
                    "verb": verb,
                    "ethicsScore": score,
                    "context": {"protocolId": "isabella", "action": action, "layer": "L2"},
                    "createdAt": at.format(n),
                }
                for n, (outcome, verb, score, action) in enumerate(
                    [
                        ("review", "escalate", 0.71, "moderar_mensaje"),
                        ("approved", "allow", 0.93, "recomendar_curso"),
                        ("rejected", "deny", 0.22, "perfilar_emociones"),
                    ]
                )
            ],
            930,
        ),
        "eoct/evaluations": _list(
            [
                {
                    "id": "e1",
                    "subjectType": "campaign",
                    "score": 0.15,
                    "verdict": "rejected",
                    "riskLevel": "critical",
                    "reasons": ["coercion_risk", "harm_risk", "privacy_risk"],
                    "createdAt": at.format(2),
                },
                {
                    "id": "e0",
                    "subjectType": "message",
                    "score": 0.94,
                    "verdict": "approved",
                    "riskLevel": "low",
                    "reasons": [],
                    "createdAt": at.format(0),
                },
            ],
            412,
        ),
        "msr/events": _list(
            [
                {
                    "id": f"m{n}",
                    "index": n,
                    "actorId": "guardian",
                    "action": action,
                    "payload": {},
                    "hash": "9f2c41d8e07b5a6633aa",
                    "compatHash": "00",
                    "createdAt": at.format(n - 1410),
                }
                for n, action in ((1411, "protocol.rejected"), (1410, "alert.critical"))
            ],
            1412,
        ),
        "bookpi/entries": _list(
            [
                {
                    "id": "b1",
                    "msrIndex": 1411,
                    "title": "Protocol economy rejected",
                    "narrative": {"es-MX": "…", "en": "…"},
                    "summary": {
                        "es-MX": "El protocolo economy pidió forzar una membresía; se rechazó porque la coacción no está permitida.",
                        "en": "Protocol economy asked to force a membership; it was rejected because coercion is not allowed.",
                    },
                    "visibility": "internal",
                    "createdAt": at.format(3),
                }
            ],
            88,
        ),
        "msr/checkpoint": "tamv-guardian.local/msr\n1412\nq4YHb1W6vP0e8k9Zz3mXo1aJ5n2rT7uQk0s=\n\n— tamv-guardian.local/msr Az3f...\n",
    }


def calm() -> dict[str, Any]:
    """An ordinary hour."""
    layers = {f"L{n}": {"level": "none", "score": 4.0 + n} for n in (1, 2, 3, 4, 5, 6)}
    return (
        empty()
        | _decisions()
        | {
            "guardian": {
                "level": "low",
                "score": 21.4,
                "updatedAt": "2026-11-03T18:41:02Z",
                "events": 48_210,
                "late": 3,
                "synthetic": True,
                "layers": layers | {"L5": {"level": "low", "score": 21.4}},
                "protocols": {},
                "top": [
                    _entity(
                        "actor",
                        "lucia.mendoza",
                        21.4,
                        "low",
                        _reason("novelty", 14.2, "curso.crear", 7.2),
                        _reason("rarity", 7.2, "curso.crear", 14.2),
                    ),
                    _entity(
                        "address", "189.203.14.7", 8.8, "none", _reason("novelty", 8.8, "sesion.iniciar")
                    ),
                    _entity("target", "economia", 3.1, "none", _reason("burst", 3.1, "pago.confirmar")),
                ],
            },
            "entities": _list([], 143),
        }
    )


def critical() -> dict[str, Any]:
    """An attack under way."""
    top = [
        _entity(
            "address",
            "203.0.113.66",
            91.7,
            "critical",
            _reason("rule", 41.0, "waf.sql_injection", 50.7),
            _reason("burst", 22.3, "*", 80.0),
            _reason("novelty", 18.4, "api.buscar", 80.0),
            _reason("context", 10.0, "", 80.0),
        ),
        _entity(
            "target",
            "memberships-db",
            83.0,
            "critical",
            _reason("rule", 40.0, "waf.sql_injection", 43.0),
            _reason("rarity", 25.0, "db.consultar", 80.0),
            _reason("seasonal", 18.0, "db.consultar", 80.0),
        ),
        _entity(
            "actor",
            "ximena.robles",
            66.2,
            "high",
            _reason("failure", 44.2, "*", 60.0),
            _reason("fan_out", 22.0, "*", 51.3),
        ),
        _entity(
            "session",
            "xr-casco-014",
            47.9,
            "medium",
            _reason("sequence", 21.0, "xr.safety_alert", 33.1),
            _reason("pairing", 14.9, "xr.safety_alert", 38.2),
            _reason("value", 8.0, "xr.session.leave", 41.0),
            _reason("pairing", 4.0, "xr.session.leave", 38.2),
        ),
    ]
    alerts = [
        {
            "id": f"a{n}",
            "createdAt": f"2026-11-03T18:40:{50 - n}Z",
            "role": item["role"],
            "entity": item["entity"],
            "layer": "L5",
            "levelFrom": "low",
            "levelTo": item["level"],
            "score": item["score"],
            "reasons": item["reasons"],
            "recommendedAction": {"critical": ["isolate", "notify"], "high": ["block"], "medium": ["notify"]}[
                item["level"]
            ],
        }
        for n, item in enumerate(top)
    ]
    state = calm()
    state["guardian"] |= {
        "level": "critical",
        "score": 91.7,
        "top": top,
        "layers": state["guardian"]["layers"]
        | {
            "L5": {"level": "critical", "score": 91.7},
            "L4": {"level": "medium", "score": 47.9},
            "L6": {"level": "high", "score": 66.2},
        },
    }
    known = [
        {
            "id": "k1",
            "actorId": "local",
            "role": "target",
            "entity": "respaldos",
            "kind": "respaldo.terminado",
            "action": "snooze",
            "until": "2026-11-04T06:00:00Z",
            "reason": "respaldo nocturno",
            "createdAt": "2026-11-03T18:00:00Z",
            "active": True,
        },
        {
            "id": "k0",
            "actorId": "local",
            "role": "address",
            "entity": "10.0.0.7",
            "kind": "escaneo",
            "action": "acknowledge",
            "until": None,
            "reason": "nuestro escáner",
            "createdAt": "2026-11-02T18:00:00Z",
            "active": True,
        },
    ]
    return state | {"alerts": _list(alerts, 38), "acknowledgements": _list(known, 9)}


def hostile() -> dict[str, Any]:
    """Names as long and as unfriendly as a sender can make them."""
    long = "servicio-de-identidad-y-membresias-con-un-nombre-larguisimo." * 4
    state = critical()
    state["guardian"]["top"][0] |= {"entity": HOSTILE}
    state["guardian"]["top"][1] |= {
        "entity": long,
        "reasons": [_reason(HOSTILE, 40.0, long), _reason("rule", 43.0, HOSTILE)],
    }
    state["guardian"]["top"].append(
        {"role": None, "entity": None, "score": None, "level": "purple", "reasons": "x"}
    )
    state["alerts"]["items"][0] |= {"entity": HOSTILE, "reasons": None}
    state["alerts"]["items"][1] |= {"entity": long}
    state["acknowledgements"]["items"][0] |= {
        "entity": HOSTILE,
        "kind": long,
        "reason": HOSTILE,
        "until": "x",
    }
    state["bookpi/entries"]["items"][0] |= {"title": HOSTILE, "summary": {"es-MX": long, "en": HOSTILE}}
    state["protocols/events"]["items"][0] |= {"command": HOSTILE, "decision": None, "protocolId": long}
    state["msr/events"]["items"][0] |= {"action": HOSTILE, "hash": None, "actorId": long}
    return state


STATES = {build.__name__: build for build in (empty, calm, critical, hostile)}


def application(state: dict[str, Any], *, texts: bool = True) -> web.Application:
    """The stand-in. A route whose state is an integer answers with that status.

    What is posted is kept in ``state["posted"]`` and answered with ``state["answer"]``, a status and an object.
    """

    async def api(request: web.Request) -> web.Response:
        answer = state.get(request.match_info["path"], 404)
        if isinstance(answer, int):
            return web.Response(status=answer)
        if isinstance(answer, str):
            return web.Response(text=answer)
        return web.json_response(answer)

    async def post(request: web.Request) -> web.Response:
        state.setdefault("posted", []).append((request.match_info["path"], await request.json()))
        status, answer = state.get("answer", (201, {"msrIndex": 3}))
        return web.json_response(answer, status=status)

    async def text(request: web.Request) -> web.Response:
        if not texts:
            return web.Response(status=404)
        return web.json_response(catalogue("page", request.match_info["language"]))

    async def file(request: web.Request) -> web.StreamResponse:
        name = request.match_info.get("name") or "index.html"
        return web.FileResponse(CONSOLE / name, headers={"Content-Security-Policy": POLICY})

    app = web.Application()
    app.router.add_get("/api/v1/{path:.+}", api)
    app.router.add_post("/api/v1/{path:.+}", post)
    app.router.add_get("/texts/page.{language}.json", text)
    app.router.add_get("/", file)
    app.router.add_get("/{name}", file)
    return app


async def _moving(name: str, port: int) -> None:
    """Serve one state whose score wanders, so that the trend has something to draw."""
    state = STATES[name]()
    runner = web.AppRunner(application(state))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    print(json.dumps({"state": name, "port": port}))
    score = state["guardian"]["score"]
    turn = 0
    while True:
        await asyncio.sleep(0.5)
        turn += 1
        state["guardian"]["events"] += 33 if score else 0
        state["guardian"]["score"] = max(0.0, score - 30 * abs(((turn / 20) % 2) - 1)) if score else 0.0


if __name__ == "__main__":
    asyncio.run(_moving(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 8799))
