"""An EVENTS batch as the flat arrays that kernels read, and what its texts say (injections, logins, honeypots).

Owns the hashing of names and the patterns of TAMV's sentinel. Does not own what a hit is worth over time: windows,
counts and levels are the kernel's.

Names come dictionary-encoded, so patterns and hashes are worked out once a distinct name, not once an event.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from guardian.config import Config
from guardian.events import ROLES, Outcome, Signal
from guardian.sigma import Ruled
from scoring import kernels, seeds
from scoring.layout import AUTH_FAILURE, FAILED, HONEYPOT, INJECTION, IS_ALERT, REQUEST, Columns

INJECTION_POINTS: Final = 50.0

SENTINEL: Final[tuple[tuple[str, float, str], ...]] = (
    (
        "sql_injection",
        INJECTION_POINTS,
        (
            r"union(?:\s|\+|%20|/\*.{0,20}\*/)+(?:all(?:\s|\+|%20)+)?select"
            r"|(?:'|%27)(?:\s|\+|%20)*(?:or|and)(?:\s|\+|%20)+(?:'|%27)?\w{1,20}(?:'|%27)?(?:\s|\+|%20)*(?:=|%3d|like)"
            r"|;(?:\s|\+|%20)*drop(?:\s|\+|%20)+table|(?:sleep|benchmark|pg_sleep|waitfor(?:\s|\+|%20)+delay)\s*\(\s*\d"
            r"|information_schema\."
        ),
    ),
    (
        "cross_site_scripting",
        40.0,
        r"(?:<|%3c)(?:\s|%20)*script|javascript:[^\s]{0,40}\(|on(?:error|load|mouseover)(?:\s|%20)*(?:=|%3d)(?:\s|%20)*[\"'a-z]",
    ),
    (
        "path_traversal",
        30.0,
        r"(?:\.\./|\.\.%2f|%2e%2e/|%2e%2e%2f|\.\.%5c){2}|/etc/(?:passwd|shadow)\b|/proc/self/environ",
    ),
    (
        "credential_probe",
        25.0,
        r"/\.env\b|/\.git/(?:config|head)|/wp-login\.php|/\.aws/credentials|/id_rsa\b|/phpmyadmin/",
    ),
)
"""Name, points and pattern of each sentinel rule. Points are TAMV's; the patterns are ours."""

_ANY: Final = "(?i)" + "|".join(pattern for _, _, pattern in SENTINEL)

_LOGIN: Final = r"(?i)log[-_. ]?[io]n|sign[-_. ]?in|\bauth|_auth|password|contraseña|\bsesi[oó]n|^security/(?:4625|4771|4776)$"
_LOGIN_FAILED: Final = (
    r"(?i)^security/(?:4625|4771)$|(?:auth|login|logon|sign[-_ ]?in)[-_. ]?(?:failure|failed|fail|denied)"
)
_REQUEST: Final = r"(?i)^(?:get|head|post|put|patch|delete|options)\b|^/|http|request|petici[oó]n"

_REMEMBERED: Final = 65_536
"""Names whose findings are remembered, per column."""

_SEVERITY_POINTS: Final = ((1.0, 50.0), (0.75, 30.0), (0.5, 15.0))
"""A verdict of another tool or a protocol counts by its severity, in the sentinel's points for the same level."""


_LOGIN_KIND: Final = 64
"""Set beside AUTH_FAILURE in what is remembered of a kind: with a bad outcome it is a failed login too."""

PARTNERS: Final = {
    "actor": ("target", "address"),
    "address": ("target", "actor"),
    "target": ("address", "actor"),
    "session": ("target", "address"),
}
"""Whom an entity of each role reaches, and whom else it meets."""


@dataclass(frozen=True, slots=True)
class Features:
    """One batch as arrays; all have one element an event."""

    ts_ns: NDArray[np.int64]
    layer: NDArray[np.int8]
    kind: NDArray[np.uint64]
    keys: Mapping[str, NDArray[np.uint64]]
    columns: Mapping[str, Columns]
    """What the kernel reads, for each role."""


class Extractor:
    """Turns batches into Features; remembers what it found in the names it has seen."""

    def __init__(self, config: Config) -> None:
        seed = config.engine.hash_seed
        self._key0 = np.uint64(seed)
        self._key1 = np.uint64(seed ^ 0x5441_4D56_4755_4152)  # "TAMVGUAR": keeps seed 0 from being all zero
        self._layers = {source: int(layer[1]) for source, layer in config.layers.items()}
        self._honeypots = pa.array(config.rules.honeypots, pa.string())
        self._hashed: dict[str, tuple[pa.Array, NDArray[np.uint64]]] = {}
        self._kinds = _Findings(_kind_findings)
        self._targets = _Findings(self._target_findings)

    def __call__(self, batch: pa.RecordBatch, detected: Ruled | None = None) -> Features:
        """The features of an EVENTS batch (as ``check_events`` returns it), with what detection rules say of it."""
        column = {name: batch.column(i) for i, name in enumerate(batch.schema.names)}
        ts_ns = column["ts"].cast(pa.int64()).to_numpy()
        signal = column["signal"].to_numpy()
        outcome = column["outcome"].to_numpy()
        severity = column["severity"].to_numpy()
        keys = {role: self._hashes(role, column[role]) for role in ROLES}
        kind = self._hashes("kind", column["kind"])

        found, points = self._kinds(column["kind"], self._hashed["kind"][1])
        refused = (outcome == Outcome.FAILURE) | (outcome == Outcome.DENIED)
        flags = found & np.uint8(AUTH_FAILURE | REQUEST | INJECTION)
        flags |= np.where(signal == Signal.ALERT, np.uint8(IS_ALERT), np.uint8(0))
        flags |= np.where(refused, np.uint8(FAILED), np.uint8(0))
        flags |= np.where(refused & ((found & _LOGIN_KIND) != 0), np.uint8(AUTH_FAILURE), np.uint8(0))
        found, target_points = self._targets(column["target"], self._hashed["target"][1])
        flags |= found
        points = np.maximum(points, target_points)
        for name in ("body", "attrs"):
            if _holds_text(column[name]):
                text_points, injects = _sentinel_points(column[name])
                points = np.maximum(points, text_points)
                flags |= np.where(injects, np.uint8(INJECTION), np.uint8(0))

        rule = kind
        if detected is not None:
            rule = np.where(detected.points > points, detected.key, kind)
            points = np.maximum(points, detected.points)

        verdict = (signal == Signal.ALERT) | (signal == Signal.XR) | ((signal == Signal.DECISION) & refused)
        judged = np.zeros(len(batch))
        if verdict.any():
            for edge, worth in reversed(_SEVERITY_POINTS):
                judged = np.where(verdict & (severity >= edge), worth, judged)
        layer = self._layered(column["layer"].to_numpy(), column["source"])
        ts = ts_ns * 1e-9
        value = column["value"].to_numpy()
        return Features(
            ts_ns=ts_ns,
            layer=layer,
            kind=kind,
            keys=keys,
            columns={
                role: _read_only(
                    Columns(
                        ts=ts,
                        key=keys[role],
                        kind=kind,
                        reaches=keys[PARTNERS[role][0]],
                        meets=keys[PARTNERS[role][1]],
                        value=value,
                        points=points,
                        judged=judged,
                        flags=flags,
                        layer=layer,
                        rule=rule,
                    )
                )
                for role in ROLES
            },
        )

    def hash_names(self, names: pa.Array) -> NDArray[np.uint64]:
        """The key of each name in a string array; 0 for the empty one."""
        out = np.empty(len(names), np.uint64)
        if not len(names):
            return out
        _, offsets, data = names.buffers()
        starts = np.frombuffer(offsets, np.int32)[names.offset : names.offset + len(names) + 1]
        octets = np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)
        kernels.hash_strings(starts, octets, self._key0, self._key1, out)
        return out

    def _hashes(self, name: str, column: pa.DictionaryArray) -> NDArray[np.uint64]:
        known = self._hashed.get(name)
        if known is None or not _same(known[0], column.dictionary):
            known = self._hashed[name] = (column.dictionary, self.hash_names(column.dictionary))
        taken: NDArray[np.uint64] = known[1][column.indices.to_numpy()]
        return taken

    def _target_findings(self, targets: pa.Array) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
        points, injects = _sentinel_points(targets)
        trapped = pc.is_in(targets, value_set=self._honeypots).to_numpy(zero_copy_only=False)
        return np.where(injects, INJECTION, 0).astype(np.uint8) | np.where(trapped, HONEYPOT, 0).astype(
            np.uint8
        ), points

    def _layered(self, layer: NDArray[np.int8], source: pa.DictionaryArray) -> NDArray[np.int8]:
        if not self._layers or not (layer < 0).any():
            return layer
        known = np.array([self._layers.get(name, -1) for name in source.dictionary.to_pylist()], np.int8)
        stated: NDArray[np.int8] = np.where(layer < 0, known[source.indices.to_numpy()], layer)
        return stated


def _read_only(columns: Columns) -> Columns:
    for column in columns:
        column.flags.writeable = False
    return columns


def _same(one: pa.Array, other: pa.Array) -> bool:
    if one is other:
        return True
    if len(one) != len(other) or one.offset != other.offset:
        return False
    return all(
        (a is None and b is None) or (a is not None and b is not None and a.address == b.address)
        for a, b in zip(one.buffers(), other.buffers(), strict=True)
    )


def _matches(texts: pa.Array, pattern: str) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = pc.fill_null(pc.match_substring_regex(texts, pattern), False).to_numpy(
        zero_copy_only=False
    )
    return found


def _may_match(texts: pa.Array) -> NDArray[np.uint8]:
    out = np.zeros(len(texts), np.uint8)
    if _holds_text(texts):
        _, offsets, data = texts.buffers()
        starts = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
        seeds.hold_seeds(starts, np.frombuffer(data, np.uint8), out)
    return out


def _kind_findings(kinds: pa.Array) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    points, injects = _sentinel_points(kinds)
    bits = np.where(injects, INJECTION, 0)
    for pattern, bit in ((_LOGIN, _LOGIN_KIND), (_LOGIN_FAILED, AUTH_FAILURE), (_REQUEST, REQUEST)):
        bits |= np.where(_matches(kinds, pattern), bit, 0)
    return bits.astype(np.uint8), points


class _Findings:
    """What the patterns found in each name of a column, remembered by the name's hash.

    The memory is a direct-mapped table: bounded, and a name that was pushed out of it is looked at again. What is
    remembered is a pure function of the name, so that the result never depends on what is still there.
    """

    def __init__(self, work: Callable[[pa.Array], tuple[NDArray[np.uint8], NDArray[np.float64]]]) -> None:
        self._work = work
        self._known = np.zeros(_REMEMBERED, np.uint64)
        self._bits = np.zeros(_REMEMBERED, np.uint8)
        self._points = np.zeros(_REMEMBERED)

    def __call__(
        self, column: pa.DictionaryArray, hashes: NDArray[np.uint64]
    ) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
        """Bits and points of each row."""
        place = (hashes >> np.uint64(17)).astype(np.int64) % _REMEMBERED
        bits, points = self._bits[place], self._points[place]
        missed = np.flatnonzero((self._known[place] != hashes) & (hashes != 0))
        if len(missed):
            bits[missed], points[missed] = self._work(column.dictionary.take(pa.array(missed)))
            self._known[place[missed]] = hashes[missed]
            self._bits[place[missed]] = bits[missed]
            self._points[place[missed]] = points[missed]
        nobody = hashes == 0
        bits[nobody], points[nobody] = 0, 0.0
        rows = column.indices.to_numpy()
        return bits[rows], points[rows]


def _holds_text(column: pa.Array) -> bool:
    """Whether any value of a string column is longer than nothing; reads the offsets only."""
    _, offsets, _ = column.buffers()
    if not len(column):
        return False
    ends = np.frombuffer(offsets, np.int32)[[column.offset, column.offset + len(column)]]
    return bool(ends[1] > ends[0])


def _sentinel_points(texts: pa.Array) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Sum of the sentinel's points of each text, and whether an injection is among them.

    Measured on Windows events of 2 kB: 1.9 us each, and 3.9 us if all of them went through the patterns.
    """
    points = np.zeros(len(texts))
    injects = np.zeros(len(texts), np.bool_)
    seeded = np.flatnonzero(_may_match(texts))
    hits = seeded[_matches(texts.take(pa.array(seeded)), _ANY)]
    if len(hits):
        suspects = texts.take(pa.array(hits))
        for _, worth, pattern in SENTINEL:
            found = _matches(suspects, f"(?i){pattern}")
            points[hits] += worth * found
            if worth == INJECTION_POINTS:
                injects[hits] = found
    return points, injects
