"""An EVENTS batch as the flat arrays that kernels read, and what its texts say (injections, logins, honeypots).

Owns the hashing of names and the patterns of TAMV's sentinel. Does not own what a hit is worth over time: windows,
counts and levels are the kernel's.

Names come dictionary-encoded, so patterns and hashes are worked out once a distinct name, not once an event.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from guardian.config import Config
from guardian.events import ROLES, Outcome, Signal
from scoring import kernels
from scoring.layout import AUTH_FAILURE, HONEYPOT, INJECTION, IS_ALERT, REQUEST

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

_SEVERITY_POINTS: Final = ((1.0, 50.0), (0.75, 30.0), (0.5, 15.0))
"""A verdict of another tool or a protocol counts by its severity, in the sentinel's points for the same level."""


@dataclass(frozen=True, slots=True)
class Features:
    """One batch as arrays; all have one element an event, ``keys`` and ``names`` one entry a role."""

    ts: NDArray[np.float64]
    """Seconds since 1970."""
    ts_ns: NDArray[np.int64]
    layer: NDArray[np.int8]
    kind: NDArray[np.uint64]
    points: NDArray[np.float64]
    flags: NDArray[np.uint8]
    keys: Mapping[str, NDArray[np.uint64]]


class Extractor:
    """Turns batches into Features; remembers the last dictionary of each column, for sources that reuse theirs."""

    def __init__(self, config: Config) -> None:
        seed = config.engine.hash_seed
        self._key0 = np.uint64(seed)
        self._key1 = np.uint64(seed ^ 0x5441_4D56_4755_4152)  # "TAMVGUAR": keeps seed 0 from being all zero
        self._layers = {source: int(layer[1]) for source, layer in config.layers.items()}
        self._honeypots = pa.array(config.rules.honeypots, pa.string())
        self._memo: dict[str, tuple[pa.Array, Any]] = {}

    def __call__(self, batch: pa.RecordBatch) -> Features:
        """The features of an EVENTS batch (as ``check_events`` returns it)."""
        column = {name: batch.column(i) for i, name in enumerate(batch.schema.names)}
        ts_ns = column["ts"].cast(pa.int64()).to_numpy()
        signal = column["signal"].to_numpy()
        outcome = column["outcome"].to_numpy()
        severity = column["severity"].to_numpy()

        keys = {role: self._hashes(role, column[role]) for role in ROLES}
        flags = np.where(signal == Signal.ALERT, np.uint8(IS_ALERT), np.uint8(0))
        points = np.zeros(len(batch))

        login, failed, request, kind_points, kind_injects = self._per_name(
            "kind.flags", column["kind"], _kind_flags
        )
        refused = (outcome == Outcome.FAILURE) | (outcome == Outcome.DENIED)
        flags |= np.where(failed | (login & refused), np.uint8(AUTH_FAILURE), np.uint8(0))
        flags |= np.where(request, np.uint8(REQUEST), np.uint8(0))
        target_points, target_injects, trapped = self._per_name(
            "target.flags", column["target"], self._target_flags
        )
        flags |= np.where(trapped, np.uint8(HONEYPOT), np.uint8(0))
        text_points, text_injects = _text_points(column["body"], column["attrs"])
        points = np.maximum(np.maximum(kind_points, target_points), text_points)
        injects = kind_injects | target_injects | text_injects
        flags |= np.where(injects, np.uint8(INJECTION), np.uint8(0))

        verdict = (signal == Signal.ALERT) | (signal == Signal.XR) | ((signal == Signal.DECISION) & refused)
        for edge, worth in reversed(_SEVERITY_POINTS):
            points = np.where(verdict & (severity >= edge), np.maximum(points, worth), points)
        return Features(
            ts=ts_ns * 1e-9,
            ts_ns=ts_ns,
            layer=self._layered(column["layer"].to_numpy(), column["source"]),
            kind=self._hashes("kind", column["kind"]),
            points=points,
            flags=flags,
            keys=keys,
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
        hashes = self._remembered(f"{name}.hash", column.dictionary, self.hash_names)
        taken: NDArray[np.uint64] = hashes[column.indices.to_numpy()]
        return taken

    def _per_name(self, memo: str, column: pa.DictionaryArray, work: Any) -> tuple[NDArray[Any], ...]:
        indices = column.indices.to_numpy()
        return tuple(found[indices] for found in self._remembered(memo, column.dictionary, work))

    def _remembered(self, memo: str, dictionary: pa.Array, work: Any) -> Any:
        known = self._memo.get(memo)
        if known is not None and _same(known[0], dictionary):
            return known[1]
        result = work(dictionary)
        self._memo[memo] = (dictionary, result)
        return result

    def _target_flags(self, targets: pa.Array) -> tuple[NDArray[Any], ...]:
        points, injects = _sentinel_points(targets)
        trapped = pc.is_in(targets, value_set=self._honeypots).to_numpy(zero_copy_only=False)
        return points, injects, trapped

    def _layered(self, layer: NDArray[np.int8], source: pa.DictionaryArray) -> NDArray[np.int8]:
        if not self._layers or not (layer < 0).any():
            return layer
        known = np.array([self._layers.get(name, -1) for name in source.dictionary.to_pylist()], np.int8)
        stated: NDArray[np.int8] = np.where(layer < 0, known[source.indices.to_numpy()], layer)
        return stated


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


def _kind_flags(kinds: pa.Array) -> tuple[NDArray[Any], ...]:
    points, injects = _sentinel_points(kinds)
    return _matches(kinds, _LOGIN), _matches(kinds, _LOGIN_FAILED), _matches(kinds, _REQUEST), points, injects


def _sentinel_points(texts: pa.Array) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Sum of the sentinel's points of each text, and whether an injection is among them."""
    points = np.zeros(len(texts))
    injects = np.zeros(len(texts), np.bool_)
    hits = np.flatnonzero(_matches(texts, _ANY))
    if len(hits):
        suspects = texts.take(pa.array(hits))
        for _, worth, pattern in SENTINEL:
            found = _matches(suspects, f"(?i){pattern}")
            points[hits] += worth * found
            if worth == INJECTION_POINTS:
                injects[hits] = found
    return points, injects


def _text_points(body: pa.Array, attrs: pa.Array) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    body_points, body_injects = _sentinel_points(body)
    attr_points, attr_injects = _sentinel_points(attrs)
    return np.maximum(body_points, attr_points), body_injects | attr_injects
