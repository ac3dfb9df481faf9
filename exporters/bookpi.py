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
    "service.started",
)
"""Actions with a template of their own; any other is told in general terms."""


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
        return f"Protocol {entry.payload['protocolId']} {entry.payload['phase']}"
    return entry.action


def _told(index: int, entry: Entry, language: texts.Language) -> tuple[str, str]:
    """Narrative and one-sentence summary."""
    values = _values(entry, language)
    name = entry.action.replace(".", "_") if entry.action in TOLD else "other"
    mark = f"[MSR {index}]"
    known = texts.catalogue("bookpi", language)
    said = known[name].format_map(values)
    sentences = [f"{sentence.strip()} {mark}" for sentence in said.split("\n") if sentence.strip()]
    return " ".join(sentences), known[f"{name}_summary"].format_map(values)


class _Missing(dict[str, Any]):
    def __missing__(self, key: str) -> str:
        return "—"


def _values(entry: Entry, language: texts.Language) -> Mapping[str, Any]:
    """What templates may say: the payload, with words of closed vocabularies in the language of the page."""
    values = _Missing({"action": entry.action, "actor": entry.actor_id, "at": iso(entry.created_at)})
    known = texts.catalogue("bookpi", language)
    for name, value in entry.payload.items():
        # "action" is the registered action; what a protocol was asked to do has a name of its own.
        key = "protocolAction" if name == "action" else name
        if isinstance(value, bool):
            values[key] = known["yes" if value else "no"]
        elif isinstance(value, float):
            values[key] = f"{value:.3g}"
        elif isinstance(value, list):
            parts = [_part(each, known) for each in value]
            values[key] = ", ".join(parts) or known["nothing"]
        elif isinstance(value, str):
            values[key] = known.get(f"word_{value}", value)
        elif value is not None and not isinstance(value, dict):
            values[key] = value
    return values


def _part(value: Any, known: Mapping[str, str]) -> str:
    if isinstance(value, dict):  # a reason of a level
        kind = f" ({value['kind']})" if value.get("kind") else ""
        channel = known.get(f"word_{value['channel']}", value["channel"])
        return f"{channel} {value['contribution']:.0f}{kind}"
    return known.get(f"word_{value}", str(value))
