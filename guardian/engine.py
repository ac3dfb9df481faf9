"""The engine: batches of events in, scores and alerts out, and one view of how things stand.

Pure and deterministic: no clock, no input or output, no logging. ``feed(a + b)`` equals ``feed(a)`` then ``feed(b)``,
bit for bit, and so does an engine restored from a snapshot; recovery, backtests and audits rest on that.
Owns the order of the work and the assembly of SCORES and ALERTS; the numbers are the kernels'.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from guardian import roles
from guardian import state as states
from guardian.config import Config
from guardian.errors import InputError, StateError
from guardian.events import ALERTS, ROLES, check_events
from guardian.features import Extractor, Features
from guardian.frozen import Frozen, copied, from_bytes
from guardian.levels import Level
from guardian.names import Names, learn
from guardian.segments import CHUNK, NO_WATERMARK, Cut
from guardian.sigma import RuleChannel, texts_of
from guardian.survey import Survey
from guardian.templates import Miner
from guardian.verdict import (
    Revised,
    Scored,
    Verdict,
    Window,
    alert_buffers,
    alert_row,
    reasons_of,
    scores_of,
)
from guardian.view import Acknowledged, EntityView, Reason, View
from scoring import IsolationForest, kernels
from scoring.layout import USED, VECTOR_FEATURES, Alerts, Columns, RoleState, Scores, new_scratch
from scoring.multivariate import WindowJudge

_WORTH_SPREADING: Final = 256
"""Rows below which handing a role to another thread costs more than scoring it (30 us)."""


class Engine:
    """The whole state of a Guardian and the one way to change it.

    Not safe for several threads at once; one owner feeds it and views it in turn.
    """

    def __init__(self, config: Config, *, workers: int = 1) -> None:
        """A new engine. ``workers`` threads score the roles; the bits do not depend on how many.

        Raises:
            RulesError: some of the configuration's Sigma rules cannot be loaded; all are listed.
        """
        self.config = config
        self._pool = ThreadPoolExecutor(workers, "roles") if workers > 1 else None
        self._digest = config.digest()
        self._extract = Extractor(config)
        self._rules = RuleChannel(config, self._extract.hash_names) if config.sigma.rules else None
        self._parameters = {role: roles.parameters(config, role) for role in ROLES}
        self._knots = (np.array(config.calibration.risk), np.array(config.calibration.score))
        limits = {table: getattr(config.engine, f"max_{table}") for table in ("entities", "kinds", "pairs")}
        self._limits = {
            role: limits | ({"steps": config.engine.max_steps} if role == "session" else {}) for role in ROLES
        }
        self._muted_limit = 2 * config.engine.max_acknowledged  # ended ones stay in the table
        self._roles: dict[str, RoleState] = {role: roles.new_state(role) for role in ROLES}
        self._judges = {role: WindowJudge(VECTOR_FEATURES) for role in ROLES}
        self._names = Names()
        self._miner = Miner(config)
        self._scratch = {role: new_scratch() for role in ROLES}
        self._alerts = {role: alert_buffers(CHUNK) for role in ROLES}
        self._acknowledged: dict[tuple[str, str, str], int | None] = {}
        self._events = 0
        self._late = 0
        self._watermark = NO_WATERMARK

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
            batch: EVENTS columns, in any order; further columns are ignored. An event with an empty kind and a body
                gets its kind from the template of the body; one with neither keeps the empty kind.

        Raises:
            SchemaError: the batch is not what EVENTS says. Nothing was learnt.
        """
        batch = self._miner.named(check_events(batch))
        features = self._extract(batch, self._rules(batch, self._names.kinds) if self._rules else None)
        scored = Scored(features)
        revised: list[Revised] = []
        windows: list[Window] = []
        alerts: list[dict[str, Any]] = []
        cut = Cut.of(features.ts_ns, self._watermark, self.config.engine)
        self._late += cut.late
        self._watermark = cut.watermark
        for start, stop, ended in cut.segments:
            if ended is not None:
                alerts += self._settled(ended, start, revised, windows)
            else:
                alerts += self._scored(batch, features, scored, start, stop)
        verdict = Verdict(
            scores=scores_of(batch, features, scored, revised, self._events),
            alerts=pa.RecordBatch.from_pylist(alerts, schema=ALERTS),
            windows=tuple(windows),
        )
        self._events += len(batch)
        self._names.forget_unused(self._roles)
        return verdict

    def acknowledge(self, role: str, entity: str, kind: str, *, until: int | None, at: int) -> None:
        """From now on, events of a kind at an entity add nothing to its risk: a person has judged them benign.

        What they say is still learnt, and TAMV's own rules (injections, honeypots, floods, failed logins) still hold;
        what another tool's severity says of them does not.

        Args:
            role: actor, address, target or session.
            entity: its name; it need not be known yet, nor need the kind.
            kind: the kind of event.
            until: event time in nanoseconds since 1970 at which it counts again; None = not before ``withdraw``.
            at: event time of the acknowledgement; one that is already over does nothing.

        Raises:
            InputError: there is no such role, or a name is empty.
        """
        if role not in ROLES:
            raise InputError("role", f"expected one of {', '.join(ROLES)}, got {role!r}")
        if not entity or not kind:
            raise InputError("entity" if not entity else "kind", "expected a name, got an empty one")
        if until is not None and until <= at:
            return
        subject = (role, entity, kind)
        self._acknowledged.pop(subject, None)
        while len(self._acknowledged) >= self.config.engine.max_acknowledged:
            oldest = next(iter(self._acknowledged))
            del self._acknowledged[oldest]
            self._mute(oldest, -np.inf)
        self._acknowledged[subject] = until
        self._mute(subject, np.inf if until is None else until * 1e-9)

    def withdraw(self, role: str, entity: str, kind: str, *, at: int) -> None:  # noqa: ARG002  (when is for the record)
        """End an acknowledgement; without one, nothing happens."""
        if self._acknowledged.pop((role, entity, kind), 0) != 0:
            self._mute((role, entity, kind), -np.inf)

    def swap_forest(self, role: str, blob: bytes) -> None:
        """From the next window that ends, let a forest grown offline judge whole windows of a role beside the ensemble.

        Args:
            role: actor, address, target or session.
            blob: ``scoring.IsolationForest.to_bytes`` of a forest over VECTOR_FEATURES.

        Raises:
            InputError: there is no such role, or the bytes are no such forest. The one in force stays.
        """
        if role not in ROLES:
            raise InputError("role", f"expected one of {', '.join(ROLES)}, got {role!r}")
        try:
            self._judges[role].swap(IsolationForest.from_bytes(blob))
        except ValueError as error:
            raise InputError("forest", str(error)) from None

    @property
    def acknowledged(self) -> list[Acknowledged]:
        """The acknowledgements there are, oldest first, with those whose time is over and that nobody withdrew."""
        return [Acknowledged(*subject, until) for subject, until in self._acknowledged.items()]

    def view(self, at: int | None = None, *, top: int = 10) -> View:
        """How everything stands at an event time (nanoseconds since 1970); without one, at the newest event.

        Levels fall and scores decay as ``at`` advances, without any event; the state does not change.
        """
        return self._survey(at).view(
            top=top, events=self._events, late=self._late, templates=self._miner.evicted
        )

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

    def raised(self, at: int | None = None) -> dict[tuple[str, str], Level]:
        """The level at an event time of every entity that has one above none, by role and name."""
        return self._survey(at).raised()

    def snapshot(self) -> bytes:
        """The whole state as one Arrow IPC file; equal states give equal bytes."""
        return self.frozen().to_bytes()

    def frozen(self) -> Frozen:
        """A copy of the whole state, of which any thread can make a snapshot's bytes."""
        arrays: dict[str, NDArray[Any]] = {}
        for role in ROLES:
            for name, array in states.arrays_of(self._roles[role]):
                arrays[f"{role}/{name}"] = copied(array)
            for name, array in self._judges[role].arrays().items():
                arrays[f"{role}/{name}"] = array
        arrays.update(self._miner.arrays())
        if self._rules is not None:
            arrays.update(self._rules.arrays())
        arrays["acknowledged"] = np.frombuffer(
            msgspec.msgpack.encode([(*subject, until) for subject, until in self._acknowledged.items()]),
            np.uint8,
        )
        arrays["counts"] = np.array([self._events, self._late, self._watermark], np.int64)
        return Frozen(
            arrays,
            self._names.referred(self._roles),
            {"digest": self._digest, "config": self.config.deciding().decode()},
        )

    @classmethod
    def restore(cls, blob: bytes, config: Config | None = None, *, workers: int = 1) -> Engine:
        """The engine that ``snapshot`` described; it goes on bit for bit as the first one would have.

        Without ``config`` it runs under the configuration it was saved with. With one, the state is kept and the new
        configuration decides from here on.

        Raises:
            StateError: the bytes are no snapshot of this version, or are damaged.
        """
        arrays, metadata = from_bytes(blob)
        if config is None:
            try:
                config = Config.from_deciding(metadata["config"], lambda: texts_of(arrays))
            except (KeyError, ValueError) as error:
                raise StateError(f"damaged snapshot: {error}") from None
        engine = cls(config, workers=workers)
        for role in ROLES:
            prefix = f"{role}/"
            own = {
                name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)
            }
            engine._roles[role] = states.role_from(own, engine._roles[role])
            try:
                engine._judges[role].restore(own)
            except ValueError as error:
                raise StateError(f"damaged snapshot: {error}") from None
        engine._miner.restore(arrays)
        if engine._rules is not None:
            engine._rules.restore(arrays)
        try:
            engine._names.restore(arrays)
            told = msgspec.msgpack.decode(
                arrays["acknowledged"].tobytes(), type=list[tuple[str, str, str, int | None]]
            )
            engine._acknowledged = {(role, entity, kind): until for role, entity, kind, until in told}
            engine._events, engine._late, engine._watermark = (int(count) for count in arrays["counts"])
        except (KeyError, ValueError, msgspec.MsgspecError) as error:
            raise StateError(f"damaged snapshot: {error}") from None
        return engine

    def _survey(self, at: int | None) -> Survey:
        newest = self._watermark if self._events else 0
        return Survey(
            roles=self._roles,
            parameters=self._parameters,
            knots=self._knots,
            scratch=self._scratch[ROLES[0]],
            names=self._names.entities,
            reasons_of=self._reasons,
            at=newest if at is None else max(at, newest),
        )

    # -- the steps of feeding ----------------------------------------------------------------------------------------

    def _scored(
        self, batch: pa.RecordBatch, features: Features, scored: Scored, start: int, stop: int
    ) -> list[dict[str, Any]]:
        """Score some rows in every role; returns the rows of ALERTS."""
        rows = stop - start
        work: dict[str, tuple[Columns, Scores]] = {}
        for number, role in enumerate(ROLES):
            own = features.columns[role].part(start, stop)
            if not own.key.any():
                continue
            self._roles[role] = states.with_room(self._roles[role], rows, self._limits[role])
            work[role] = (
                own,
                Scores(
                    place=scored.place[number, start:stop],
                    surprisal=scored.surprisal,
                    score=scored.score,
                    level=scored.level,
                    new_entity=np.zeros(rows, np.uint8),
                    new_kind=np.zeros(rows, np.uint8),
                ),
            )

        def score(role: str) -> None:
            own, out = work[role]
            alerts = self._alerts[role]
            alerts.raised[0] = 0
            kernels.score_role(
                own,
                self._events + start,
                self._parameters[role],
                *self._knots,
                self._roles[role],
                self._scratch[role],
                out,
                alerts,
            )

        # A role's state is its own, and so are its rows of the scores: whoever is done first changes nothing.
        spread = self._pool is not None and rows >= _WORTH_SPREADING
        list(self._pool.map(score, work) if spread and self._pool is not None else map(score, work))

        raised: list[tuple[int, int, dict[str, Any]]] = []
        for number, role in enumerate(work):
            own, out = work[role]
            alerts = self._alerts[role]
            learn(self._names.entities, own.key, batch.column(role), start, out.new_entity)
            learn(self._names.kinds, own.kind, batch.column("kind"), start, out.new_kind)
            for each in range(int(alerts.raised[0])):
                row = start + int(alerts.row[each])
                alert = self._alert(
                    alerts,
                    each,
                    ts=int(features.ts_ns[row]),
                    role=role,
                    entity=batch.column(role)[row].as_py(),
                    layer=int(features.layer[row]),
                    event=self._events + row,
                    trace_id=batch.column("trace_id")[row].as_py(),
                )
                raised.append((row, number, alert))
        raised.sort(key=lambda item: item[:2])
        return [alert for _, _, alert in raised]

    def _settled(
        self, window: int, before: int, revised: list[Revised], windows: list[Window]
    ) -> list[dict[str, Any]]:
        """Judge the entities of a window again at its end; returns the rows of ALERTS."""
        ended = (window + 1) * round(self.config.engine.window_s * 1e9) - 1
        raised: list[dict[str, Any]] = []
        for number, role in enumerate(ROLES):
            state = self._roles[role]
            used = int(state.entities.meta[USED])
            found = (
                np.zeros(1, np.int64), np.empty(used, np.int64),
                np.empty(used), np.empty(used), np.empty(used, np.int8),
            )  # fmt: skip
            alerts = alert_buffers(used)
            strange = self._strange(window, role, ended, windows)
            kernels.settle_window(
                *strange,
                window,
                self._parameters[role],
                *self._knots,
                state,
                self._scratch[role],
                *found,
                alerts,
            )
            count, slots, surprise, score, level = found
            told = slots[: int(count[0])]
            if not len(told):
                continue
            names = [self._names.entities.get(key, "") for key in state.entities.slot["key"][told].tolist()]
            revised.append(
                Revised(
                    before=before,
                    role=number,
                    ts_ns=ended,
                    event=state.entity["last_event"][told],
                    entity=names,
                    multivariate=surprise[: len(told)].copy(),
                    score=score[: len(told)].copy(),
                    level=level[: len(told)].copy(),
                )
            )
            named = dict(zip(told.tolist(), names, strict=True))
            for each in range(int(alerts.raised[0])):
                slot = int(alerts.row[each])
                raised.append(
                    self._alert(
                        alerts,
                        each,
                        ts=ended,
                        role=role,
                        entity=named[slot],
                        layer=int(state.entity[slot]["layer"]),
                        event=int(state.entity[slot]["last_event"]),
                        trace_id=bytes(16),
                    )
                )
        return raised

    def _strange(
        self, window: int, role: str, ended: int, windows: list[Window]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Slots of the entities whose whole window is strange for their role, and the surprisal of each."""
        state = self._roles[role]
        used = int(state.entities.meta[USED])
        count, slots = np.zeros(1, np.int64), np.empty(used, np.int64)
        vectors = np.empty((used, VECTOR_FEATURES))
        kernels.window_vectors(window, state, count, slots, vectors)
        if count[0]:
            vectors = vectors[: int(count[0])].copy()
            windows.append(Window(role, ended, vectors))
        surprisal = self._judges[role].judge_learn(vectors[: int(count[0])])
        strange = np.flatnonzero(surprisal > self.config.engine.floor)
        return slots[strange], surprisal[strange]

    def _mute(self, subject: tuple[str, str, str], until: float) -> None:
        role, entity, kind = subject
        key, kind_key = self._extract.hash_names(pa.array([entity, kind], pa.string()))
        state = self._roles[role] = states.with_room(self._roles[role], 1, {"muted": self._muted_limit})
        kernels.mute(key, kind_key, until, self._muted_limit, state)

    def _alert(self, alerts: Alerts, each: int, **told: Any) -> dict[str, Any]:
        reasons = self._reasons(
            alerts.kind[each], alerts.event[each], alerts.parts[each], alerts.without[each]
        )
        return alert_row(self.config, self._digest, alerts, each, reasons, **told)

    def _reasons(self, *explained: NDArray[Any]) -> tuple[Reason, ...]:
        return reasons_of(*explained, names=self._names.kinds)

    def _used_keys(self, role: str) -> NDArray[np.uint64]:
        keys: NDArray[np.uint64] = states.keys_of(self._roles[role].entities)
        return keys
