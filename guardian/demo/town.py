"""The synthetic TAMV that the demonstration plays: its people, services, addresses and ordinary habits.

Owns the cast and the vocabulary; when things happen is ``day``, what goes wrong is ``attacks``. Every name is
invented, addresses come from blocks reserved for documentation (RFC 5737), and every record
says ``synthetic``.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final

GIVEN: Final = (
    "lucia", "mateo", "ximena", "diego", "renata", "emiliano", "valeria", "santiago", "camila", "leonardo",
    "regina", "sebastian", "fernanda", "rodrigo", "paulina", "andres", "citlali", "iker", "itzel", "joaquin",
)  # fmt: skip
FAMILY: Final = (
    "mendoza", "robles", "cervantes", "ibarra", "quintero", "zavala", "olvera", "tellez", "arriaga", "bautista",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Habit:
    """Something that people do on an ordinary day, and the service that reports it."""

    kind: str
    service: str
    layer: str
    target: str
    seconds: float
    """Typical duration; it scatters log-normally around this."""
    weight: float


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with an address, a working rhythm and a few habits that are more theirs than others'."""

    name: str
    address: str
    early: float
    """Hours by which their day starts before (−) or after (+) everybody's."""
    busy: float
    """How much they do, 1 = average."""
    favourites: tuple[Habit, ...]
    headset: str
    """Name of their XR session; empty for most."""


HABITS: Final = (
    Habit("sesion.iniciar", "identidad", "L5", "portal-web", 0.22, 1.0),
    Habit("feed.leer", "red-social", "L5", "muro", 0.08, 6.0),
    Habit("mensaje.enviar", "red-social", "L5", "mensajeria", 0.06, 4.0),
    Habit("publicacion.crear", "red-social", "L5", "muro", 0.15, 1.0),
    Habit("curso.ver", "universidad", "L5", "aula-virtual", 0.35, 3.0),
    Habit("tarea.entregar", "universidad", "L5", "aula-virtual", 0.60, 0.6),
    Habit("pago.confirmar", "economia", "L5", "cartera", 0.40, 0.8),
    Habit("membresia.consultar", "membresias", "L5", "membresias-db", 0.09, 1.2),
    Habit("obra.subir", "galeria", "L6", "almacen-obras", 1.80, 0.4),
    Habit("pagina.abrir", "shell-web", "L6", "portal-web", 0.12, 7.0),
    Habit("busqueda.ejecutar", "shell-web", "L6", "buscador", 0.18, 2.5),
    Habit("ayuda.preguntar", "isabella", "L2", "asistente", 0.90, 0.8),
)


@dataclass(frozen=True, slots=True)
class Service:
    """A service that reports its own work, people or no people."""

    name: str
    layer: str
    operations: tuple[str, ...]
    seconds: float
    target: str


SERVICES: Final = (
    Service("msr-registro", "L1", ("msr.anexar", "msr.firmar"), 0.012, "msr-almacen"),
    Service("bookpi", "L1", ("bookpi.redactar",), 0.040, "bookpi-db"),
    Service("eoct", "L2", ("eoct.evaluar",), 0.025, "eoct-motor"),
    Service("isabella", "L2", ("isabella.clasificar", "isabella.recomendar"), 0.350, "modelo-lenguaje"),
    Service("radar", "L3", ("radar.barrer", "radar.correlacionar"), 0.120, "radar-indice"),
    Service("dreamspaces", "L4", ("escena.sincronizar",), 0.016, "escena-central"),
    Service("identidad", "L5", ("token.renovar", "token.verificar"), 0.018, "identidad-db"),
    Service("economia", "L5", ("saldo.conciliar",), 0.210, "cartera-db"),
    Service("membresias", "L5", ("membresia.renovar",), 0.090, "membresias-db"),
    Service("universidad", "L5", ("video.transcodificar",), 2.400, "aula-virtual"),
    Service("galeria", "L6", ("miniatura.generar",), 0.300, "almacen-obras"),
    Service("shell-web", "L6", ("pagina.servir",), 0.045, "portal-web"),
)

PROTOCOL_ACTIONS: Final = (
    ("economy", "distribuir_regalias", "L5", "Repartir las regalías del mes entre autores"),
    ("dreamspaces", "abrir_sala", "L4", "Abrir una sala para la clase de la tarde"),
    ("future", "proponer_iniciativa", "L2", "Someter una iniciativa vecinal a consulta"),
    ("fenix", "restaurar_perfil", "L5", "Devolver un perfil a petición de su dueña"),
    ("xr", "calibrar_escena", "L4", "Ajustar luces de la plaza central"),
    ("isabella", "revisar_recomendacion", "L2", "Revisar con una persona lo recomendado"),
)

ISABELLA_REQUESTS: Final = (
    ("recomendar_curso", "allow", 0.93),
    ("resumir_clase", "allow", 0.91),
    ("traducir_mensaje", "approve", 0.95),
    ("sugerir_contactos", "allow", 0.84),
    ("moderar_mensaje", "flag", 0.74),
    ("ordenar_muro", "warn", 0.78),
)

EOCT_SUBJECTS: Final = (
    ("campaign", "becas-de-otono"),
    ("campaign", "feria-del-libro"),
    ("recommendation", "cursos"),
    ("recommendation", "contactos"),
    ("transaction", "regalias"),
    ("scene", "plaza-central"),
)
"""Type and name of what is evaluated ethically on an ordinary day."""

OUTSIDE: Final = {
    "brute_force": "203.0.113.66",
    "sql_injection": "203.0.113.140",
    "credential_probe": "192.0.2.23",
    "honeypot": "192.0.2.199",
}
"""Addresses that only attackers use."""

HONEYPOT: Final = "boveda-respaldo-antigua"
"""A target that nobody has a reason to touch; the demonstration's configuration names it as a honeypot."""


def people(random: Random, count: int = 60) -> tuple[Person, ...]:
    """The cast, the same for the same generator: 60 people behind 24 addresses, every sixth with a headset."""
    names = [f"{given}.{family}" for family in FAMILY for given in GIVEN]
    chosen = random.sample(names, count)
    addresses = [f"198.51.100.{10 + 7 * index}" for index in range(24)]
    return tuple(
        Person(
            name=name,
            address=addresses[index % len(addresses)],
            early=random.gauss(0.0, 1.2),
            busy=min(max(random.lognormvariate(0.0, 0.45), 0.4), 3.0),
            favourites=tuple(random.sample(HABITS, 3)),
            headset=f"casco-{index:03d}" if index % 6 == 0 else "",
        )
        for index, name in enumerate(chosen)
    )
