"""The engine: batches of events in, scores and alerts out, and one view of how things stand.

Pure and deterministic: no clock, no input or output, no logging. ``feed(a + b)`` equals ``feed(a)`` then ``feed(b)``,
bit for bit, and so does an engine restored from a snapshot; recovery, backtests and audits rest on that.
Owns the order of the work and the assembly of SCORES and ALERTS; the numbers are the kernels'.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from guardian import state as states
from guardian.config import Calibration, Config, Rules
from guardian.config import Engine as EngineSettings
from guardian.errors import StateError
from guardian.events import ALERTS, CHANNELS, CONTEXT, ROLES, check_events
from guardian.features import Extractor, Features
from guardian.survey import Survey
from guardian.verdict import Scored, Verdict, scores_of
from guardian.view import EntityView, Reason, View
from scoring import kernels
from scoring.layout import (
    ANY_KIND,
    CHANNEL_COUNT,
    CONTEXT_PART,
    EVICTED,
    PARTS,
    RULE,
    RULE_PART,
    USED,
    Alerts,
    Parameters,
    RoleState,
)

CHUNK: Final = 4096
"""Rows that go through the kernels at once: large enough to amortise, small enough for buffers to stay in cache."""

ALL_KINDS: Final = "*"
"""The kind of a reason that is about events of any kind: a burst."""


class Engine:
    """The whole state of a Guardian and the one way to change it.

    Not safe for several threads at once; one owner feeds it and views it in turn.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self._digest = config.digest()
        self._extract = Extractor(config)
        self._parameters = {role: _parameters(config, role) for role in ROLES}
        self._knots = (np.array(config.calibration.risk), np.array(config.calibration.score))
        self._limits = {
            "entities": config.engine.max_entities,
            "kinds": config.engine.max_kinds,
            "pairs": config.engine.max_pairs,
        }
        self._roles: dict[str, RoleState] = {role: _new_role(role) for role in ROLES}
        self._kind_names: dict[int, str] = {ANY_KIND: ALL_KINDS}
        self._entity_names: dict[int, str] = {}
        self._events = 0
        self._late = 0
        self._watermark = -(2**63)

    @property
    def events(self) -> int:
        """Events fed since the state was new."""
        return self._events

    @property
    def watermark(self) -> int:
        """Newest event time so far, nanoseconds since 1970; −2^63 before the first event."""
        return self._watermark

    def feed(self, batch: pa.RecordBatch) -> Verdict:
        """Score the events of a batch in their order, and learn from them.

        Args:
            batch: EVENTS columns, in any order; further columns are ignored.

        Raises:
            SchemaError: the batch is not what EVENTS says. Nothing was learnt.
        """
        batch = check_events(batch)
        features = self._extract(batch)
        self._count_late(features.ts_ns)
        score_parts: list[Scored] = []
        alert_parts: list[dict[str, Any]] = []
        for start in range(0, len(batch), CHUNK):
            stop = min(start + CHUNK, len(batch))
            scored, alerts = self._chunk(batch, features, start, stop)
            score_parts.append(scored)
            alert_parts += alerts
        verdict = Verdict(
            scores=scores_of(batch, features, score_parts, self._events),
            alerts=pa.RecordBatch.from_pylist(alert_parts, schema=ALERTS),
        )
        self._events += len(batch)
        self._forget_unused_names()
        return verdict

    def view(self, at: int | None = None, *, top: int = 10) -> View:
        """How everything stands at an event time (nanoseconds since 1970); without one, at the newest event.

        Levels fall and scores decay as ``at`` advances, without any event; the state does not change.
        """
        return self._survey(at).view(top=top, events=self._events, late=self._late)

    def entities(self, at: int | None = None, *, limit: int, offset: int) -> tuple[list[EntityView], int]:
        """A page of all entities, highest score first, and how many there are."""
        return self._survey(at).page(limit=limit, offset=offset)

    def entity(self, role: str, name: str, at: int | None = None) -> EntityView | None:
        """One entity as it stands, or None when it is not (or no longer) known."""
        key = int(self._extract.hash_names(pa.array([name], pa.string()))[0])
        slots = np.flatnonzero(self._used_keys(role) == np.uint64(key))
        if not len(slots):
            return None
        return self._survey(at).entity(role, int(slots[0]))

    def snapshot(self) -> bytes:
        """The whole state as one Arrow IPC file; equal states give equal bytes."""
        arrays: dict[str, NDArray[Any]] = {}
        for role in ROLES:
            for name, array in states.arrays_of(self._roles[role]):
                arrays[f"{role}/{name}"] = array
        for table, names in (
            ("kind", self._live(self._kind_names)),
            ("entity", self._live(self._entity_names)),
        ):
            ordered = sorted(names.items())
            arrays[f"names/{table}.key"] = np.array([key for key, _ in ordered], np.uint64)
            arrays[f"names/{table}.text"] = np.frombuffer(
                msgspec.msgpack.encode([text for _, text in ordered]), np.uint8
            )
        arrays["counts"] = np.array([self._events, self._late, self._watermark], np.int64)
        deciding = {
            "engine": self.config.engine,
            "calibration": self.config.calibration,
            "rules": self.config.rules,
            "layers": dict(sorted(self.config.layers.items())),
        }
        return states.to_bytes(
            arrays,
            {"digest": self._digest, "config": msgspec.json.encode(deciding, order="deterministic").decode()},
        )

    @classmethod
    def restore(cls, blob: bytes, config: Config | None = None) -> Engine:
        """The engine that ``snapshot`` described; it goes on bit for bit as the first one would have.

        Without ``config`` it runs under the configuration it was saved with. With one, the state is kept and the new
        configuration decides from here on.

        Raises:
            StateError: the bytes are no snapshot of this version, or are damaged.
        """
        arrays, metadata = states.from_bytes(blob)
        if config is None:
            config = _config_from(metadata)
        engine = cls(config)
        for role in ROLES:
            prefix = f"{role}/"
            own = {
                name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)
            }
            engine._roles[role] = states.role_from(own, engine._roles[role])
        try:
            for table, names in (("kind", engine._kind_names), ("entity", engine._entity_names)):
                texts = msgspec.msgpack.decode(arrays[f"names/{table}.text"].tobytes(), type=list[str])
                names.update(zip(arrays[f"names/{table}.key"].tolist(), texts, strict=True))
            engine._events, engine._late, engine._watermark = (int(count) for count in arrays["counts"])
        except (KeyError, ValueError, msgspec.MsgspecError) as error:
            raise StateError(f"damaged snapshot: {error}") from None
        return engine

    def _survey(self, at: int | None) -> Survey:
        newest = self._watermark if self._events else 0
        return Survey(
            roles=self._roles,
            parameters=self._parameters,
            names=self._entity_names,
            reasons_of=self._reasons,
            at=newest if at is None else max(at, newest),
        )

    # -- one chunk ---------------------------------------------------------------------------------------------------

    def _chunk(
        self, batch: pa.RecordBatch, features: Features, start: int, stop: int
    ) -> tuple[Scored, list[dict[str, Any]]]:
        rows = stop - start
        scored = Scored(rows)
        raised: list[tuple[int, int, dict[str, Any]]] = []
        kinds = batch.column("kind")
        for number, role in enumerate(ROLES):
            keys = features.keys[role][start:stop]
            if not keys.any():
                continue
            state = states.with_room(self._roles[role], rows, self._limits)
            self._roles[role] = state
            new_entity = np.zeros(rows, np.uint8)
            new_kind = np.zeros(rows, np.uint8)
            alerts = _alert_buffers(rows)
            kernels.score_role(
                features.ts[start:stop],
                keys,
                features.kind[start:stop],
                features.points[start:stop],
                features.flags[start:stop],
                features.layer[start:stop],
                self._events + start,
                self._parameters[role],
                *self._knots,
                state,
                new_entity,
                new_kind,
                scored.surprisal[number],
                scored.score[number],
                scored.level[number],
                alerts,
            )
            _name(self._entity_names, keys, batch.column(role), start, new_entity)
            _name(self._kind_names, features.kind[start:stop], kinds, start, new_kind)
            for each in range(int(alerts.raised[0])):
                row = int(alerts.row[each])
                alert = self._alert(
                    batch, features, start + row, role, scored.score[number][row], each, alerts
                )
                raised.append((row, number, alert))
        raised.sort(key=lambda item: item[:2])
        return scored, [alert for _, _, alert in raised]

    def _alert(
        self,
        batch: pa.RecordBatch,
        features: Features,
        row: int,
        role: str,
        score: np.float64,
        each: int,
        alerts: Alerts,
    ) -> dict[str, Any]:
        entity = batch.column(role)[row].as_py()
        # Two rises to one level are at least ``hold_s`` apart, so each falls into a window of its own.
        window = int(float(alerts.at[each]) // self.config.engine.hold_s)
        level_to = min(int(score // 20.0), 4)
        identity = "\x1f".join((role, entity, str(level_to), str(window), self._digest))
        reasons = self._reasons(alerts.kind[each], alerts.event[each], alerts.parts[each])
        ruled = bool(
            alerts.parts[each, RULE_PART, RULE] > 0.0
        )  # then the score is a rule's, which needs no data
        return {
            "alert_id": hashlib.sha256(identity.encode()).digest()[:16],
            "ts": int(features.ts_ns[row]),
            "role": role,
            "entity": entity,
            "layer": int(features.layer[row]),
            "level_from": int(alerts.level_from[each]),
            "level_to": level_to,
            "score": float(score),
            "extrapolated": not ruled and float(score) > self.config.calibration.confirmed_to,
            "reasons": [
                {"channel": r.channel, "contribution": r.contribution, "kind": r.kind, "event": r.event}
                for r in reasons
            ],
            "event": self._events + row,
            "trace_id": batch.column("trace_id")[row].as_py(),
            "config": self._digest,
        }

    def _reasons(
        self, kind: NDArray[np.uint64], event: NDArray[np.int64], parts: NDArray[np.float64]
    ) -> tuple[Reason, ...]:
        """The parts of one explanation as reasons, largest first. Parts that add nothing are left out."""
        reasons: list[Reason] = []
        for part in range(PARTS):
            name = self._kind_names.get(int(kind[part]), "")
            for channel in range(CHANNEL_COUNT):
                points = float(parts[part, channel])
                if points > 0.0:
                    label = CONTEXT if part == CONTEXT_PART else CHANNELS[channel]
                    reasons.append(Reason(label, points, name, int(event[part])))
        return tuple(sorted(reasons, key=lambda reason: (-reason.contribution, reason.channel, reason.kind)))

    # -- bookkeeping -------------------------------------------------------------------------------------------------

    def _count_late(self, ts_ns: NDArray[np.int64]) -> None:
        if not len(ts_ns):
            return
        newest = np.maximum.accumulate(np.concatenate(([self._watermark], ts_ns)))
        allowed = int(self.config.engine.allowed_lateness_s * 1e9)
        # Compared as ts + allowed < newest, so that nothing underflows while there is no watermark yet.
        self._late += int(
            np.count_nonzero(ts_ns.astype(np.float64) + allowed < newest[:-1].astype(np.float64))
        )
        self._watermark = int(newest[-1])

    def _used_keys(self, role: str) -> NDArray[np.uint64]:
        table = self._roles[role].entities
        return table.key[: int(table.meta[USED])]

    def _live(self, names: dict[int, str]) -> dict[int, str]:
        """The names that the state still refers to."""
        alive: set[int] = set()
        if names is self._entity_names:
            for role in ROLES:
                alive.update(self._used_keys(role).tolist())
        else:
            alive.add(ANY_KIND)
            for state in self._roles.values():
                alive.update(state.kinds.key[: int(state.kinds.meta[USED])].tolist())
                alive.update(np.unique(state.active["kind"]).tolist())
                alive.update(np.unique(state.entity["rule_kind"]).tolist())
        return {key: name for key, name in names.items() if key in alive}

    def _forget_unused_names(self) -> None:
        """Keep the tables of names as bounded as the tables they name: swept when twice as long as needed."""
        entities = sum(int(state.entities.meta[USED]) for state in self._roles.values())
        if len(self._entity_names) > 2 * entities + CHUNK:
            self._entity_names = self._live(self._entity_names)
        kinds = sum(int(state.kinds.meta[USED]) for state in self._roles.values())
        if len(self._kind_names) > 2 * kinds + CHUNK and any(
            s.kinds.meta[EVICTED] for s in self._roles.values()
        ):
            self._kind_names = self._live(self._kind_names)


def _name(
    names: dict[int, str],
    keys: NDArray[np.uint64],
    column: pa.DictionaryArray,
    start: int,
    new: NDArray[np.uint8],
) -> None:
    rows = np.flatnonzero(new)
    if len(rows):
        texts = column.take(pa.array(rows + start)).to_pylist()
        names.update(zip(keys[rows].tolist(), texts, strict=True))


def _alert_buffers(rows: int) -> Alerts:
    return Alerts(
        raised=np.zeros(1, np.int64),
        row=np.empty(rows, np.int64),
        level_from=np.empty(rows, np.int64),
        at=np.empty(rows),
        kind=np.empty((rows, PARTS), np.uint64),
        event=np.empty((rows, PARTS), np.int64),
        parts=np.empty((rows, PARTS, CHANNEL_COUNT)),
    )


def _new_role(role: str) -> RoleState:
    return states.new_role(watches_logins=role == "actor", watches_requests=role == "address")


def _parameters(config: Config, role: str) -> Parameters:
    settings, rules = config.engine, config.rules
    return Parameters(
        max_entities=settings.max_entities,
        max_kinds=settings.max_kinds,
        max_pairs=settings.max_pairs,
        episode_gap_s=settings.episode_gap_s,
        window_s=settings.window_s,
        risk_half_life_s=settings.risk_half_life_s,
        active_s=settings.active_s,
        context_half_life_s=settings.context_half_life_s,
        persistence_half_life_s=settings.persistence_half_life_s,
        hold_s=settings.hold_s,
        auth_failures=rules.auth_failures,
        auth_window_s=rules.auth_window_s,
        injections=rules.injections,
        injection_window_s=rules.injection_window_s,
        flood_events=rules.flood_events,
        rate_per_minute=rules.rate_per_minute,
        watches_logins=int(role == "actor"),
        watches_requests=int(role == "address"),
    )


def _config_from(metadata: Mapping[str, str]) -> Config:
    try:
        saved = msgspec.json.decode(metadata["config"])
        return Config(
            engine=msgspec.convert(saved["engine"], EngineSettings),
            calibration=msgspec.convert(saved["calibration"], Calibration),
            rules=msgspec.convert(saved["rules"], Rules),
            layers=saved["layers"],
        )
    except (KeyError, msgspec.MsgspecError) as error:
        raise StateError(f"damaged snapshot: its configuration cannot be read ({error})") from None
