"""BookPI: each critical decision told in plain Spanish and English, from one set of templates.

Deterministic: the same MSR entry gives the same words, and every sentence carries the index of the entry it tells.
Payloads hold commitments in the place of personal data, so the narratives hold none either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from exporters.msr.log import Entry
from exporters.store import metadata, newest_first
from guardian import texts
from guardian.decisions.record import iso

entries: Final = sa.Table(
    "bookpi_entries",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("msr_index", sa.Integer, nullable=False, unique=True),
    sa.Column("created_at", sa.BigInteger, nullable=False, index=True),
    sa.Column("actor_id", sa.Text, nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("narrative", sa.Text, nullable=False),
    sa.Column("summary", sa.Text, nullable=False),
    sa.Column("context", sa.Text, nullable=False),
    sa.Column("visibility", sa.Text, nullable=False),
)

TOLD: Final = (
    "protocol.evaluated",
    "eoct.evaluated",
    "isabella.decided",
    "guardian.level_changed",
    "guardian.acknowledged",
    "guardian.snoozed",
    "guardian.withdrawn",
    "guardian.silence_added",
    "guardian.silence_ended",
    "guardian.silence_expired",
    "guardian.model_swapped",
    "service.started",
)
"""Actions with a template of their own; any other is told in general terms."""

MOST: Final = 80
"""Characters of a free text that a sentence quotes."""


def tell(connection: sa.Connection, indices: Sequence[int], decisions: Sequence[Entry]) -> None:
    """Write the pages of registered entries, in the transaction that registers them."""
    rows = []
    for index, entry in zip(indices, decisions, strict=True):
        told = {language: _told(index, entry, language) for language in texts.LANGUAGES}
        rows.append(
            {
                "id": f"bookpi-{index:010d}",
                "msr_index": index,
                "created_at": entry.created_at,
                "actor_id": entry.actor_id,
                "title": _title(entry),
                "narrative": msgspec.json.encode({k: v[0] for k, v in told.items()}).decode(),
                "summary": msgspec.json.encode({k: v[1] for k, v in told.items()}).decode(),
                "context": msgspec.json.encode({"action": entry.action}).decode(),
                "visibility": "internal",
            }
        )
    if rows:
        connection.execute(entries.insert(), rows)


def page(connection: sa.Connection, *, limit: int, offset: int) -> tuple[list[dict[str, Any]], int]:
    """Pages as the API shows them, newest first, and how many there are."""
    rows, total = newest_first(connection, entries, limit=limit, offset=offset)
    return [
        {
            "id": row["id"],
            "msrIndex": row["msr_index"],
            "sourceEventId": str(row["msr_index"]),
            "actorId": row["actor_id"],
            "title": row["title"],
            "narrative": msgspec.json.decode(row["narrative"]),
            "summary": msgspec.json.decode(row["summary"]),
            "context": msgspec.json.decode(row["context"]),
            "visibility": row["visibility"],
            "createdAt": iso(row["created_at"]),
        }
        for row in rows
    ], total


def _title(entry: Entry) -> str:
    if entry.action == "protocol.evaluated":
        values = (_plain(str(entry.payload.get(key, "—"))) for key in ("protocolId", "phase"))
        return "Protocol {} {}".format(*values)
    return _plain(entry.action)


def _told(index: int, entry: Entry, language: texts.Language) -> tuple[str, str]:
    """Narrative and one-sentence summary; the template's lines are the sentences, whatever the values hold."""
    values = _values(entry, language)
    name = entry.action.replace(".", "_") if entry.action in TOLD else "other"
    mark = f"[MSR {index}]"
    known = texts.catalogue("bookpi", language)
    sentences = [f"{line.format_map(values)} {mark}" for line in known[name].strip().split("\n")]
    return " ".join(sentences), f"{known[f'{name}_summary'].format_map(values)} {mark}"


class _Missing(dict[str, Any]):
    def __missing__(self, key: str) -> str:
        return "—"


def _values(entry: Entry, language: texts.Language) -> Mapping[str, Any]:
    """What templates may say: the payload, with words of closed vocabularies in the language of the page."""
    known = texts.catalogue("bookpi", language)
    # "action" is the registered action; what a protocol was asked to do has a name of its own.
    payload = {"protocolAction" if name == "action" else name: value for name, value in entry.payload.items()}
    told = {name: _said(value, known) for name, value in payload.items() if value not in (None, "")}
    own = {"action": _plain(entry.action), "actor": _plain(entry.actor_id), "at": iso(entry.created_at)}
    return _Missing({**told, **own})


def _said(value: Any, known: Mapping[str, str]) -> str:
    if isinstance(value, bool):
        return known["yes" if value else "no"]
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, list):
        return ", ".join(_part(each, known) for each in value) or known["nothing"]
    return _word(str(value), known)


def _word(text: str, known: Mapping[str, str]) -> str:
    return known.get(f"word_{text}") or _plain(text)


def _plain(text: str) -> str:
    """Text from outside as part of a sentence: one line, not too long, and never taken for the mark of an entry."""
    if text.isprintable() and len(text) <= MOST and "[" not in text and "]" not in text:
        return text
    shown = "".join(each if each.isprintable() else " " for each in text[: MOST + 1])
    shown = " ".join(shown.replace("[", "(").replace("]", ")").split())
    return shown if len(text) <= MOST else f"{shown[:MOST]}…"


def _part(value: Any, known: Mapping[str, str]) -> str:
    if not isinstance(value, dict):
        return _word(str(value), known)
    # A reason of a level.
    channel, points = (_said(value.get(key, "—"), known) for key in ("channel", "contribution"))
    kind = f" ({_plain(str(value['kind']))})" if value.get("kind") else ""
    level = value.get("levelWithout")
    without = "; " + known["without"].format(level=_word(str(level), known)) if level else ""
    return f"{channel} {points}{kind}{without}"
