"""``guardian.toml`` as frozen, typed records.

Owns every setting, its default, its unit and its range. Reading reports all problems at once, each by its key path.
Only the file changes numbers: no setting is read from the environment, except secrets, which the file names by
reference (``token_env`` or ``token_file``).
"""

from __future__ import annotations

import hashlib
import itertools
import os
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_type_hints

import msgspec
from msgspec import Meta, Struct, field

from guardian import route_settings, sink_settings, source_settings
from guardian.errors import ConfigError, Problem
from guardian.sigma_settings import Sigma, rule_texts
from guardian.units import Bytes, Count, Few, LayerName, Port, Positive, Seconds, Share

SUBJECT_TYPES: Final = tuple(
    """
    account action agent asset campaign comment content conversation course decision event group image interaction
    listing membership message model moderation payment policy post product profile prompt protocol recommendation
    response scene session space system transaction transfer user video workflow
    """.split()  # noqa: SIM905  (a list of one word a line is a page)
)
"""Ours: TAMV names the field and no values. A sender's own word would be free text in a label, so the list is closed."""


class Server(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The HTTP face."""

    host: str = "127.0.0.1"
    port: Port = 8787
    xr_port: Port = 8788
    otlp_port: Annotated[int, Meta(ge=-1, le=65535, description="a port, or -1 for none")] = -1
    """Also serve ``/v1/logs`` and ``/v1/traces`` here (4318 is the standard port); -1 = only on ``port``."""
    max_body_bytes: Bytes = 16 * 2**20
    """Largest request body as received, still compressed."""
    max_decoded_bytes: Bytes = 128 * 2**20
    """Largest request body once decompressed."""


class Journal(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The durable queue in front of the engine."""

    segment_bytes: Bytes = 64 * 2**20
    group_bytes: Bytes = 2**20
    """Most that is written before it is synced; what comes meanwhile gathers for the next sync."""
    sync: bool = True
    """Answer once the disk has it. ``false``: once the system has it, so that a killed service loses nothing, and a
    power cut what was accepted in its last seconds."""
    max_bytes: Bytes = 4 * 2**30
    """Past this, senders get 429 until the engine has caught up; each one past its share, which is what is still free."""
    snapshot_interval_s: Seconds = 10.0


class Resources(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the service may use of the machine. Nothing here changes a score."""

    workers: Annotated[int, Meta(ge=0, le=64, description="a whole number, 0 to 64")] = 0
    """Bodies that are decoded at once, and threads that score roles; 0 = as many as the machine has cores."""
    backlog_bytes: Bytes = 256 * 2**20
    """Decoded events that may wait in memory for the engine; past it they wait in the journal alone."""
    max_connections: Annotated[int, Meta(ge=8, description="a whole number >= 8")] = 4096
    """Open HTTP connections; one more is told 503 and closed. Never more than the system lets one process open."""

    def worker_count(self) -> int:
        """``workers``, or the number of cores that this process may use."""
        return self.workers or len(os.sched_getaffinity(0))


class Engine(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The scoring engine. Every value here can change a score, so all are part of the digest."""

    max_entities: Count = 200_000
    """Entities remembered per role; past it one that came only once gives way first. Counted, like those below."""
    max_kinds: Count = 16_384
    """Kinds remembered per role; same rule."""
    max_pairs: Count = 1_000_000
    """(entity, kind) pairs remembered per role; same rule."""
    max_steps: Count = 100_000
    """(kind, next kind) steps of sessions remembered; same rule."""
    max_acknowledged: Count = 10_000
    """Acknowledgements in force at once; past it the oldest ends."""
    allowed_lateness_s: Seconds = 60.0
    """An event older than the newest by more than this is scored as it comes, and counted as late."""
    episode_gap_s: Seconds = 60.0
    """Silence of one kind at one entity after which its next event starts a new episode."""
    window_s: Seconds = 300.0
    """Length of the windows in which an entity's history is counted."""
    risk_half_life_s: Seconds = 150.0
    active_s: Seconds = 900.0
    """How long a kind stays part of its entity's risk after its last event."""
    context_half_life_s: Seconds = 7200.0
    context_share: Share = 0.7
    """How much of the risk of the riskiest other entity is added to one that is itself surprising."""
    persistence_half_life_s: Seconds = 86_400.0
    floor: Positive = 1.25
    """Surprisal (decades) that ordinary behaviour reaches; only what exceeds it counts."""
    rank_power: Positive = 0.6
    """The j-th strongest kind of an entity counts 1/j to this power."""
    hold_s: Seconds = 300.0
    """A level falls only after the score stayed under its band for this long."""
    hash_seed: Annotated[int, Meta(ge=0, le=2**63 - 1, description="a whole number, 0 to 2^63 - 1")] = 0
    """Keys the hash of entity names. Set a secret one where outsiders choose names, so that none can be forged."""


class Calibration(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The map from risk (decades) to guardian score (points): straight lines between knots, written by calibrate."""

    risk: tuple[float, ...] = (0.0, 2.2, 3.2, 3.75, 5.45, 6.9, 8.55, 10.2)
    score: tuple[float, ...] = (0.0, 3.0, 20.0, 33.0, 43.0, 60.0, 80.0, 100.0)
    confirmed_to: Annotated[float, Meta(ge=0, le=100, description="a score, 0 to 100")] = 43.0
    """Above this score the map is an extrapolation of the data it was fitted on, and alerts say so."""


class Rules(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """TAMV's rule scores and correlations, the ``rule`` channel."""

    auth_failures: Few = 5
    auth_window_s: Seconds = 300.0
    injections: Few = 3
    injection_window_s: Seconds = 3600.0
    flood_events: Count = 1000
    rate_per_minute: Count = 100
    honeypots: tuple[str, ...] = ()
    """Names of targets that nobody has a reason to touch; a touch is high."""


class Templates(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How events that name no kind get one from their message. Both values can change a score and are part of the digest."""

    max_templates: Annotated[int, Meta(ge=64, le=65_536, description="a whole number, 64 to 65536")] = 8192
    """Templates remembered, about 2 KB each; past it one that was matched only once gives way first. Counted."""
    similarity: Annotated[float, Meta(ge=0.5, le=1, description="a number from 0.5 to 1")] = 0.8
    """Share of the words of a message that must fit a template on trial; 1 = words that are not masked never vary."""


class Forest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The forest grown offline that judges whole windows beside the ensemble; each swap stands in the register."""

    interval_s: Annotated[float, Meta(ge=0, description="seconds, or 0 for never")] = 0.0
    """How often a forest is grown for each role from the windows kept in the data folder; 0 = none is kept or grown."""
    trees: Annotated[int, Meta(ge=1, le=500, description="a whole number, 1 to 500")] = 100
    sample: Annotated[int, Meta(ge=2, le=4096, description="a whole number, 2 to 4096")] = 256
    """Windows each tree is grown from."""


class Eoct(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The continuous ethical evaluation."""

    profile: Literal["guardian", "tamv"] = "guardian"
    """``tamv`` = faithful, no veto; ``guardian`` = one signal at ``veto_at`` gives at least review."""
    veto_at: Share = 0.9
    subject_types: tuple[str, ...] = SUBJECT_TYPES
    """Subject types that may be a label of ``tamv_eoct_risk_score``; any other is shown there as ``other``."""


class Ledger(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """MSR, the register of critical decisions."""

    origin: Annotated[str, Meta(min_length=1, max_length=128, description="1 to 128 characters")] = (
        "tamv-guardian.local/msr"
    )
    key_file: str = ""
    """Ed25519 private key (PEM). Empty = one made on first start, in the data folder, readable by its owner only."""


class Telemetry(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Guardian's own traces and metrics, sent to an OpenTelemetry collector when an endpoint is given."""

    endpoint: str = ""
    """Base URL of an OTLP/HTTP receiver, for example ``http://127.0.0.1:4318``; empty = none."""
    interval_s: Seconds = 15.0


class Xr(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The XR gateway."""

    max_connections: Count = 5_000
    max_message_bytes: Bytes = 64 * 1024
    messages_per_s: Positive = 200.0
    """Messages taken from one connection per second; past it they are refused and counted. Large ones count more."""
    tick_ms: Annotated[float, Meta(ge=10, le=10_000, description="milliseconds, 10 to 10000")] = 500.0
    """How often changed guardian scenes are told."""
    window_s: Annotated[float, Meta(ge=0.5, le=60, description="seconds, 0.5 to 60")] = 5.0
    """Length of the windows that raw motion is reduced to."""
    max_buffer_bytes: Bytes = 64 * 1024
    """What may wait for one connection; while more does, it is told nothing new …"""
    stall_s: Seconds = 10.0
    """… and once that has lasted this long, it is closed."""
    origins: tuple[str, ...] = ()
    """Web origins whose pages may connect, besides those of this machine; for example ``https://xr.tamv.mx``."""


class Config(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole of ``guardian.toml``. ``Config()`` is the embedded default."""

    language: Literal["es-MX", "en"] = "es-MX"
    server: Server = Server()
    journal: Journal = Journal()
    resources: Resources = Resources()
    engine: Engine = Engine()
    calibration: Calibration = Calibration()
    rules: Rules = Rules()
    sigma: Sigma = Sigma()
    templates: Templates = Templates()
    forest: Forest = Forest()
    eoct: Eoct = Eoct()
    ledger: Ledger = Ledger()
    telemetry: Telemetry = Telemetry()
    xr: Xr = Xr()
    layers: dict[str, LayerName] = field(default_factory=dict)
    """``source → layer``: where an event that states no layer belongs."""
    sinks: tuple[sink_settings.Sink, ...] = ()
    sources: tuple[source_settings.Source, ...] = ()
    routes: tuple[route_settings.Route, ...] = ()
    inhibitions: tuple[route_settings.Inhibition, ...] = ()

    def digest(self) -> str:
        """SHA-256 (hex) of all that can change a score: engine, calibration, rules (Sigma's by their texts), templates, layers.

        It stands in every alert, so that the alert can be derived again. Ports, sinks and languages are left out:
        they change no score, and an alert must keep its identity when the service moves to another port. So is when
        forests are grown: like all that is learnt they belong to the state, and the register names each.
        """
        return hashlib.sha256(self.deciding()).hexdigest()

    def deciding(self) -> bytes:
        """That, as JSON: the same values give the same bytes."""
        told: dict[str, Any] = {
            "engine": self.engine,
            "calibration": self.calibration,
            "rules": self.rules,
            "templates": self.templates,
            "layers": dict(sorted(self.layers.items())),
        }
        if self.sigma.rules:
            texts = msgspec.msgpack.encode(sorted(self.sigma.rules.items()))
            told["sigma"] = {"rules": hashlib.sha256(texts).hexdigest(), "exclude": self.sigma.exclude}
        return msgspec.json.encode(told, order="deterministic")

    @classmethod
    def from_deciding(cls, told: bytes | str, rules: Callable[[], dict[str, str]]) -> Config:
        """The configuration of ``deciding``, everything else by default.

        Args:
            told: what ``deciding`` gave.
            rules: gives the texts of the Sigma rules, of which it holds the digest; asked only where there are some.

        Raises:
            ValueError: it is none, or those are not the rules.
        """
        try:
            saved = msgspec.json.decode(told)
            named = saved.get("sigma")
            exclude = msgspec.convert(named["exclude"], tuple[str, ...]) if named else ()
            made = cls(
                sigma=Sigma(rules=rules() if named else {}, exclude=exclude),
                engine=msgspec.convert(saved["engine"], Engine),
                calibration=msgspec.convert(saved["calibration"], Calibration),
                rules=msgspec.convert(saved["rules"], Rules),
                templates=msgspec.convert(saved["templates"], Templates),
                layers=saved["layers"],
            )
        except (AttributeError, KeyError, TypeError, msgspec.MsgspecError) as error:
            raise ValueError(f"its configuration cannot be read ({error})") from None
        if named and msgspec.json.decode(made.deciding())["sigma"] != named:
            raise ValueError("its Sigma rules are not those of its configuration")
        return made


_SECTIONS: Final = {
    name: kind
    for name, kind in get_type_hints(Config, include_extras=True).items()
    if isinstance(kind, type) and issubclass(kind, Struct)
}


_KINDS: Final[dict[str, Mapping[str, type[Struct]]]] = {
    "sinks": sink_settings.KINDS,
    "sources": source_settings.KINDS,
}
"""Arrays of tables, each with a ``type`` …"""

_ALIKE: Final[dict[str, type[Struct]]] = {
    "routes": route_settings.Route,
    "inhibitions": route_settings.Inhibition,
}
"""… and those that need none, since all are alike."""


def load(path: str | Path) -> Config:
    """Read a ``guardian.toml``.

    Raises:
        ConfigError: the file cannot be read, is not TOML, or says something unusable; every problem is listed.
    """
    file = str(path)
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(file, [Problem("(file)", "a readable UTF-8 file", _reason(error))]) from None
    config = parse(text, file=file)
    if not config.sigma.paths:
        return config
    problems: list[Problem] = []
    rules = {**config.sigma.rules, **rule_texts(Path(path).parent, config.sigma.paths, problems)}
    if problems:
        raise ConfigError(file, problems)
    return msgspec.structs.replace(config, sigma=msgspec.structs.replace(config.sigma, rules=rules))


def parse(text: str, *, file: str = "guardian.toml") -> Config:
    r"""The configuration that a TOML text describes; ``file`` is the name that errors carry.

    Raises:
        ConfigError: the text is not TOML or says something unusable; every problem is listed.

    >>> parse("[engine]\nhold_s = '5m'\n[eoct]\nveto = true")
    Traceback (most recent call last):
    ...
    guardian.errors.ConfigError: guardian.toml: engine.hold_s: expected seconds > 0, got "5m"
    guardian.toml: eoct.veto: expected one of profile, veto_at, subject_types, got an unknown key
    """
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(file, [Problem("(file)", "TOML", str(error))]) from None
    problems: list[Problem] = []
    values = _struct(Config, tree, "", problems)
    if not problems:
        problems += _across(values)
    if problems:
        raise ConfigError(file, problems)
    return Config(**values)


def _struct(kind: type[Struct], tree: dict[str, Any], path: str, problems: list[Problem]) -> dict[str, Any]:
    hints = get_type_hints(kind, include_extras=True)
    required = {info.name for info in msgspec.structs.fields(kind) if info.required}
    values: dict[str, Any] = {}
    for key, value in tree.items():
        here = f"{path}{key}"
        if key not in hints:
            problems.append(Problem(here, f"one of {', '.join(hints)}", "an unknown key"))
        elif kind is Config and key in _SECTIONS:
            if isinstance(value, dict):
                values[key] = _SECTIONS[key](**_struct(_SECTIONS[key], value, f"{here}.", problems))
            else:
                problems.append(Problem(here, f"a table [{here}]", _shown(value)))
        elif kind is Config and (key in _KINDS or key in _ALIKE):
            values[key] = _tables(key, value, problems)
        elif kind is Config and key == "layers" and isinstance(value, dict):
            for source, layer in value.items():
                _leaf(LayerName, layer, f"{here}.{source}", problems)
            values[key] = value
        else:
            values[key] = _leaf(hints[key], value, here, problems)
    problems.extend(Problem(f"{path}{name}", "a value", "nothing") for name in sorted(required - tree.keys()))
    return {key: value for key, value in values.items() if value is not None}


def _leaf(hint: Any, value: Any, key: str, problems: list[Problem]) -> Any:
    try:
        return msgspec.convert(value, hint)
    except msgspec.ValidationError as error:
        problems.append(Problem(key, _expected(hint, error), _shown(value)))
        return None


def _tables(key: str, value: Any, problems: list[Problem]) -> tuple[Struct, ...] | None:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        problems.append(Problem(key, f"tables [[{key}]]", _shown(value)))
        return None
    tables: list[Struct] = []
    for index, item in enumerate(value):
        here = f"{key}[{index}]."
        kind = _ALIKE.get(key) or _kind(key, item, here, problems)
        if kind is None:
            continue
        if key in _KINDS:
            item = {name: entry for name, entry in item.items() if name != "type"}  # noqa: PLW2901  (told by its class)
        before = len(problems)
        values = _struct(kind, item, here, problems)
        if len(problems) == before:
            tables.append(kind(**values))
    return tuple(tables)


def _kind(key: str, item: dict[str, Any], here: str, problems: list[Problem]) -> type[Struct] | None:
    kinds, said = _KINDS[key], item.get("type")
    if isinstance(said, str) and said in kinds:
        return kinds[said]
    got = _shown(said) if "type" in item else "nothing"
    problems.append(Problem(f"{here}type", f"one of {', '.join(kinds)}", got))
    return None


def _across(values: dict[str, Any]) -> list[Problem]:
    """What no single value can say about itself."""
    problems: list[Problem] = []
    calibration: Calibration = values.get("calibration", Calibration())
    knots = len(calibration.risk)
    if knots < 2 or knots != len(calibration.score):
        got = f"{knots} and {len(calibration.score)}"
        problems.append(
            Problem("calibration", "risk and score with the same number of knots, at least 2", got)
        )
    for key, knot in (("risk", calibration.risk), ("score", calibration.score)):
        if any(later <= earlier for earlier, later in itertools.pairwise(knot)):
            problems.append(Problem(f"calibration.{key}", "strictly rising knots", _shown(list(knot))))
    problems += sink_settings.problems_across(values.get("sinks", ()))
    problems += source_settings.problems_across(values.get("sources", ()))
    routing = (values.get(key, ()) for key in ("routes", "inhibitions", "sinks"))
    problems += route_settings.problems_across(*routing)
    return problems


def _expected(hint: Any, error: msgspec.ValidationError) -> str:
    for part in getattr(hint, "__metadata__", ()):
        if isinstance(part, Meta) and part.description:
            return part.description
    options = getattr(hint, "__args__", ())
    if getattr(hint, "__origin__", None) is Literal:
        return f"one of {', '.join(map(str, options))}"
    words = {str: "text", float: "a number", int: "a whole number", bool: "true or false"}
    return words.get(hint, str(error))


def _shown(value: Any) -> str:
    try:
        text = msgspec.json.encode(value).decode()
    except (TypeError, UnicodeDecodeError):
        text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return error.strerror or "no such file" if isinstance(error, OSError) else "bytes that are not UTF-8"
