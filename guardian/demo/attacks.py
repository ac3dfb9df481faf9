"""What goes wrong on the synthetic day, and when: eight attacks at announced times, calm between them.

Owns the programme and each attack's script. Each lasts about three quarters of an hour of event time, so that at the
demonstration's default pace it can be watched for about twenty seconds, and then the level has time to fall.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Final

from guardian.demo import town
from guardian.demo.records import (
    SIGNALS,
    Draft,
    duration_ms,
    eoct_body,
    isabella_body,
    log,
    protocol_body,
    xr_body,
)

MINUTE_S: Final = 60.0
Cast = tuple[town.Person, ...]


def scenes(random: Random, cast: Cast) -> Iterator[tuple[str, Draft]]:
    """Every attack of the programme: its key, and one thing that happens in it. Not in order of time."""
    for start, key, script in PROGRAMME:
        for after, door, body in script(random, cast):
            yield key, (start + after, door, body)


def _every(random: Random, seconds: float, count: int) -> Iterator[float]:
    """``count`` moments, about ``seconds`` apart."""
    at = 0.0
    for _ in range(count):
        yield at
        at += seconds * random.uniform(0.6, 1.4)


def brute_force(random: Random, cast: Cast) -> Iterator[Draft]:
    """One account, one foreign address, a password a quarter of a minute."""
    victim = cast[7]
    for at in _every(random, 15.0, 170):
        yield (
            at,
            "log",
            log(
                "identidad",
                "sesion.iniciar",
                "L5",
                user_id=victim.name,
                ip=town.OUTSIDE["brute_force"],
                target="portal-web",
                duration_ms=duration_ms(random, 0.3),
                status="failure",
                risk_level="medium",
                metadata={"message": "contraseña incorrecta"},
            ),
        )


_INJECTIONS: Final = (
    "/buscar?q=' OR '1'='1",
    "/buscar?q=1' UNION SELECT nombre, clave FROM cuentas--",
    "/api/obras?id=7; DROP TABLE obras",
    "/api/obras?id=1 AND SLEEP(5)",
    "/buscar?q=' UNION ALL SELECT table_name FROM information_schema.tables--",
)


def sql_injection(random: Random, _cast: Cast) -> Iterator[Draft]:
    """A burst of injections from one address against the search."""
    for at in _every(random, 14.0, 150):
        yield (
            at,
            "log",
            log(
                "shell-web",
                "busqueda.ejecutar",
                "L6",
                ip=town.OUTSIDE["sql_injection"],
                target="buscador",
                duration_ms=duration_ms(random, 0.5),
                status="error",
                risk_level="high",
                metadata={"message": random.choice(_INJECTIONS)},
            ),
        )


def xr_safety(random: Random, cast: Cast) -> Iterator[Draft]:
    """Somebody pushes others out of their safe area in the central square; the headset raises alarm after alarm."""
    culprit = next(person for person in cast[30:] if person.headset)
    kinds = ("safety_alert", "permission_denied", "safety_alert", "moderation_action", "scene_config_change")
    for number, at in enumerate(_every(random, 45.0, 60)):
        kind = kinds[number % len(kinds)]
        severity = "critical" if kind == "safety_alert" else "high"
        yield at, "xr", xr_body(culprit, kind, "plaza-central", severity=severity)


def honeypot(random: Random, _cast: Cast) -> Iterator[Draft]:
    """Somebody opens the old vault, which nobody has a reason to touch."""
    for number, at in enumerate(_every(random, 220.0, 12)):
        kind = ("archivo.listar", "archivo.abrir", "archivo.copiar")[min(number // 4, 2)]
        yield (
            at,
            "log",
            log(
                "galeria",
                kind,
                "L6",
                ip=town.OUTSIDE["honeypot"],
                target=town.HONEYPOT,
                duration_ms=duration_ms(random, 0.4),
                status="denied",
                risk_level="high",
            ),
        )


_PROBES: Final = ("/.env", "/.git/config", "/wp-login.php", "/.aws/credentials", "/phpmyadmin/index.php")
_INNER: Final = (
    "identidad-db",
    "cartera-db",
    "membresias-db",
    "bookpi-db",
    "msr-almacen",
    "radar-indice",
    "escena-central",
)
_MOVES: Final = (
    "consola.abrir",
    "permiso.listar",
    "tabla.listar",
    "cuenta.listar",
    "clave.leer",
    "tarea.programar",
    "respaldo.copiar",
    "cuenta.crear",
    "permiso.elevar",
    "bitacora.borrar",
)


def lateral_movement(random: Random, cast: Cast) -> Iterator[Draft]:
    """Probes for forgotten credentials; one works, and a known account walks through stores it has never seen.

    Wherever its key does not fit, the account guesses: failed log-ins are what gives it away first.
    """
    taken = cast[19]
    outside = town.OUTSIDE["credential_probe"]
    for at in _every(random, 20.0, 40):
        yield (
            at,
            "log",
            log(
                "shell-web",
                "pagina.abrir",
                "L6",
                ip=outside,
                target="portal-web",
                duration_ms=duration_ms(random, 0.05),
                status="denied",
                risk_level="medium",
                metadata={"message": f"GET {random.choice(_PROBES)}"},
            ),
        )
    for number, at in enumerate(_every(random, 25.0, 90)):
        yield (
            15 * MINUTE_S + at,
            "log",
            log(
                "identidad",
                "sesion.iniciar"
                if number % 2
                else _MOVES[min(random.randrange(1 + number // 3), len(_MOVES) - 1)],
                "L5",
                user_id=taken.name,
                session_id=f"{taken.name}-remota",
                ip=outside,
                target=random.choice(_INNER[: 1 + number // 4]),
                duration_ms=duration_ms(random, 0.8),
                status="denied" if number % 4 else "success",
                risk_level="high",
            ),
        )


def doctrine_override(random: Random, _cast: Cast) -> Iterator[Draft]:
    """Protocols that ask to pass over the doctrine, to do harm or to force; the constitution rejects each."""
    attempts = (
        ("economy", "suspender_limites", "L0", {"override": True}),
        ("guardian", "apagar_vigilancia", "L0", {"override": True}),
        ("hoyo-negro", "borrar_identidad", "L2", {"harm_intent": True}),
        ("isabella", "forzar_consentimiento", "L2", {"coercive": True}),
    )
    for number, at in enumerate(_every(random, 170.0, 14)):
        protocol, action, layer, payload = attempts[number % len(attempts)]
        yield (
            at,
            "protocol",
            protocol_body(protocol, action, layer, "Orden urgente de la dirección", **payload),
        )


def coercion(random: Random, _cast: Cast) -> Iterator[Draft]:
    """A campaign that pressures people: EOCT rejects it again and again, Isabella refuses to help."""
    for number, at in enumerate(_every(random, 120.0, 20)):
        strong = {name: round(random.uniform(0.82, 1.0), 3) for name in SIGNALS}
        yield at, "eoct", eoct_body("campaign", "campana-de-presion", strong)
        if number % 2:
            yield at + 20.0, "isabella", isabella_body("redactar_campana", "deny", random.uniform(0.05, 0.25))


_THEFT: Final = (
    "datos.exportar",
    "datos.comprimir",
    "enlace.compartir",
    "cifrado.desactivar",
    "copia.externa",
)


def exfiltration(random: Random, cast: Cast) -> Iterator[Draft]:
    """Somebody inside copies the membership store out, in transfers of minutes where seconds are ordinary.

    The export's file parameter is walked upwards (path traversal), which is what the rules see; the durations and
    the new operations are what behaviour shows.
    """
    insider = cast[52]
    for number, at in enumerate(_every(random, 30.0, 85)):
        kind = _THEFT[0] if number % 2 else random.choice(_THEFT)
        seconds = random.uniform(90.0, 400.0)
        yield (
            at,
            "log",
            log(
                "membresias",
                kind,
                "L5",
                user_id=insider.name,
                session_id=f"{insider.name}-noche",
                ip=insider.address,
                target="membresias-db",
                duration_ms=round(1000.0 * seconds, 1),
                risk_level="high",
                metadata={
                    "bytes": int(seconds * 12_000_000),
                    "message": f"archivo=../../respaldos/membresias-{number}.zst",
                },
            ),
        )


PROGRAMME: Final[tuple[tuple[float, str, Callable[[Random, Cast], Iterator[Draft]]], ...]] = (
    (1.2 * 3600, "brute_force", brute_force),
    (3.8 * 3600, "sql_injection", sql_injection),
    (6.5 * 3600, "xr_safety", xr_safety),
    (9.1 * 3600, "honeypot", honeypot),
    (11.8 * 3600, "lateral_movement", lateral_movement),
    (14.8 * 3600, "doctrine_override", doctrine_override),
    (17.5 * 3600, "coercion", coercion),
    (20.3 * 3600, "exfiltration", exfiltration),
)
"""Start (seconds into the day), key and script of each attack; ``demo.attack_<key>`` says in words what it is."""
