"""Reading the state: how every entity, layer and protocol stands at one moment, and the overall level.

Changes nothing. Owns what *overall* means: one critical entity makes it critical, and so do very many mild ones at
once, though none of them would alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from guardian.events import LAYERS, ROLES
from guardian.levels import BAND_EDGES, POINTS_PER_DECADE, Level, level_of
from guardian.state import evictions, keys_of
from guardian.view import EntityView, Reason, Standing, View
from scoring import kernels
from scoring.layout import CHANNEL_COUNT, PARTS, USED, Parameters, RoleState, Scratch

PROTOCOL_TARGET: Final = "protocol:"
"""A target of this name is a protocol; ``guardian.decisions`` names them so."""

_CROWD: Final = 3
"""A crowd begins at this many entities; below it, the highest single score says more."""


class Survey:
    """All standings at one event time (``at``, nanoseconds since 1970)."""

    def __init__(
        self,
        *,
        roles: Mapping[str, RoleState],
        parameters: Mapping[str, Parameters],
        knots: tuple[NDArray[np.float64], NDArray[np.float64]],
        scratch: Scratch,
        names: Mapping[int, str],
        reasons_of: Callable[..., tuple[Reason, ...]],
        at: int,
    ) -> None:
        self._roles = roles
        self._parameters = parameters
        self._knots = knots
        self._scratch = scratch
        self._names = names
        self._reasons_of = reasons_of
        self._at = at
        self._score: dict[str, NDArray[np.float64]] = {}
        self._level: dict[str, NDArray[np.int8]] = {}
        for role in ROLES:
            used = int(roles[role].entities.meta[USED])
            self._score[role] = np.empty(used)
            self._level[role] = np.empty(used, np.int8)
            kernels.standings(at * 1e-9, parameters[role], roles[role], self._score[role], self._level[role])

    def view(self, *, top: int, events: int, late: int, templates: int) -> View:
        """Everything at once, with the ``top`` entities explained; ``templates`` are those that the miner has forgotten."""
        layer = {role: self._fields(role)["layer"] for role in ROLES}
        whole = self._overall({role: np.ones(len(self._score[role]), np.bool_) for role in ROLES})
        layers = {
            name: self._overall({role: layer[role] == number for role in ROLES})
            for number, name in enumerate(LAYERS)
            if any((layer[role] == number).any() for role in ROLES)
        }
        best, _ = self.page(limit=top, offset=0)
        return View(
            score=whole.score,
            level=whole.level,
            updated_at=self._at,
            events=events,
            late=late,
            layers=layers,
            protocols=self._protocols(),
            top=tuple(entity for entity in best if entity.score > 0.0),
            entities={role: len(self._score[role]) for role in ROLES},
            evicted={**self._evicted(), "templates": templates},
        )

    def page(self, *, limit: int, offset: int) -> tuple[list[EntityView], int]:
        """Entities of all roles, highest score first; ties by who was seen last, then by role and place."""
        score = np.concatenate([self._score[role] for role in ROLES])
        last = np.concatenate([self._fields(role)["last"] for role in ROLES])
        starts = np.cumsum([0] + [len(self._score[role]) for role in ROLES])
        wanted = offset + limit
        if 0 < wanted < len(score):
            # Only what can be on the page is sorted: everything not below the wanted-th score.
            edge = np.partition(score, len(score) - wanted)[len(score) - wanted]
            candidates = np.flatnonzero(score >= edge)
        else:
            candidates = np.arange(len(score))
        order = candidates[np.lexsort((candidates, -last[candidates], -score[candidates]))]
        chosen = []
        for position in order[offset:wanted]:
            number = int(np.searchsorted(starts, position, side="right")) - 1
            chosen.append(self.entity(ROLES[number], int(position - starts[number])))
        return chosen, len(score)

    def raised(self) -> dict[tuple[str, str], Level]:
        """The level of every entity that has one above none, by role and name."""
        found: dict[tuple[str, str], Level] = {}
        for role in ROLES:
            keys = keys_of(self._roles[role].entities)
            for slot in np.flatnonzero(self._level[role]).tolist():
                found[role, self._names.get(int(keys[slot]), "")] = Level(int(self._level[role][slot]))
        return found

    def entity(self, role: str, slot: int) -> EntityView:
        """One entity, explained: its reasons sum to its score."""
        state = self._roles[role]
        kind = np.zeros((1, PARTS), np.uint64)
        event = np.full((1, PARTS), -1, np.int64)
        parts = np.zeros((1, PARTS, CHANNEL_COUNT))
        without = np.zeros((1, CHANNEL_COUNT + 1))
        kernels.explain_entities(
            np.array([slot], np.int64), self._at * 1e-9, self._parameters[role], *self._knots, state, self._scratch,
            kind, event, parts, without,
        )  # fmt: skip
        record = state.entity[slot]
        return EntityView(
            role=role,
            entity=self._names.get(int(state.entities.slot[slot]["key"]), ""),
            score=float(self._score[role][slot]),
            level=Level(int(self._level[role][slot])),
            first_seen=round(float(record["first"]) * 1e9),
            last_seen=round(float(record["last"]) * 1e9),
            events=int(record["events"]),
            layer=int(record["layer"]),
            reasons=self._reasons_of(kind[0], event[0], parts[0], without[0]),
        )

    def _overall(self, members: Mapping[str, NDArray[np.bool_]]) -> Standing:
        """The higher of the highest single standing and what the crowd of each role amounts to."""
        score = 0.0
        level = Level.NONE
        for role in ROLES:
            scores = self._score[role][members[role]]
            if not len(scores):
                continue
            score = max(score, float(scores.max()), crowd_score(scores))
            level = max(level, Level(int(self._level[role][members[role]].max())))
        return Standing(score, max(level, level_of(score)))

    def _protocols(self) -> dict[str, Standing]:
        state = self._roles["target"]
        keys = keys_of(state.entities)
        standing: dict[str, Standing] = {}
        # A protocol's event marks its target with signal DECISION only; the names carry the mark.
        for slot, key in enumerate(keys.tolist()):
            name = self._names.get(key, "")
            if name.startswith(PROTOCOL_TARGET):
                standing[name.removeprefix(PROTOCOL_TARGET)] = Standing(
                    float(self._score["target"][slot]), Level(int(self._level["target"][slot]))
                )
        return standing

    def _evicted(self) -> dict[str, int]:
        total = {"kinds": 0, "pairs": 0}
        for role in ROLES:
            counts = evictions(self._roles[role])
            total[role] = counts["entities"]
            total["kinds"] += counts["kinds"]
            total["pairs"] += counts["pairs"]
        return total

    def _fields(self, role: str) -> NDArray[np.void]:
        state = self._roles[role]
        return state.entity[: int(state.entities.meta[USED])]


def crowd_score(scores: NDArray[np.float64]) -> float:
    """What many raised scores at once amount to, in points.

    Of n entities, n · 10^(−edge/20) are expected above a band's edge in a day of ordinary behaviour. Seeing k of them
    at the same moment has a probability of at most exp(−(k·ln(k/expected) − k + expected)) (Chernoff's bound for a
    Poisson count; Mitzenmacher and Upfal, Probability and Computing, theorem 5.4). Its −log10, in points, is the
    score. The daily expectation is taken for the moment's, which errs on the quiet side.

    Shapes: scores (n,). Returns 0…100.

    >>> crowd_score(np.array([70.0, 1.0]))
    0.0
    >>> round(crowd_score(np.full(10_000, 15.0))), round(crowd_score(np.full(10_000, 25.0)))
    (0, 100)
    """
    best = 0.0
    for edge in BAND_EDGES:
        count = int(np.count_nonzero(scores >= edge))
        expected = len(scores) * 10.0 ** (-edge / POINTS_PER_DECADE)
        if count < _CROWD or count <= expected:
            continue
        exponent = count * math.log(count / expected) - count + expected
        best = max(best, POINTS_PER_DECADE * exponent / math.log(10.0))
    return min(best, 100.0)
