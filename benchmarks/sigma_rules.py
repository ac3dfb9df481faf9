"""Sigma rules on Windows events: events a second on one core, and the same matches as pySigma's SQLite backend.

Rules are read from a checkout of SigmaHQ/sigma that SIGMA_ROOT names; without one, 1,000 rules are made from the values of
the events. The oracle gets the same fields as columns of one table, its text folded as SQLite does: ASCII letters only.
"""

from __future__ import annotations

import os
import random
import re
import sqlite3
import tempfile
import time
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from guardian.decode import read_all
from guardian.sigma.logsources import gate
from guardian.sigma.match import CHUNK, Matcher
from guardian.sigma.parse import parse
from guardian.sigma.program import compiled
from guardian.sigma.rule import Condition, Or, RuleSet, Text

TITLE = "Sigma: 1,000 and more rules on Windows events"
GOAL = (
    "≥ 1,000 rules at ≥ 50,000 events/s on one core; the same matches as pySigma's SQLite backend for every rule that it can"
    " convert, on 100,000 events"
)
MADE = 1_000
EVENTS = 100_000
KEYWORDS = "all_text"


def measure(shared: Path, *, quick: bool) -> list[dict[str, Any]]:
    """One row a set of rules, then how the matches compare with the oracle's."""
    batches = events(shared / "data" / "otrf", 4_000 if quick else EVENTS)
    given = os.environ.get("SIGMA_ROOT")
    texts = read_rules(Path(given)) if given else made_rules(batches, 60 if quick else MADE)
    origin = "SigmaHQ" if given else "made from the events (no SIGMA_ROOT)"
    sets = {origin: texts}
    if given and not quick:
        windows = {name: text for name, text in texts.items() if name.startswith("rules/windows/")}
        sets = {f"{origin}, for Windows": windows, f"{origin}, all": texts}
    rows = [speed(name, parse(one), batches) for name, one in sets.items()]
    if rows[0]["loaded"] >= 1_000:  # what is beyond the first set is shown, and no goal is set for it
        rows[0]["goal"] = "met" if rows[0]["events/s"] >= 50_000 else "missed"
    return [*rows, agreement(texts, batches, 300 if quick else None)]


def events(folder: Path, count: int) -> list[pa.RecordBatch]:
    """Windows events, in the order of the files; from the first again until there are enough."""
    found: list[pa.RecordBatch] = []
    with tempfile.TemporaryDirectory(prefix="guardian-bench-") as scratch:
        for path in sorted(folder.glob("*.zip")):
            with zipfile.ZipFile(path) as archive:
                for name in archive.namelist():
                    if name.endswith(".json") and not name.startswith("__MACOSX"):
                        file = Path(scratch) / Path(name).name
                        file.write_bytes(archive.read(name))
                        parts = read_all(file, map="windows", format="ndjson", batch_size=CHUNK)
                        found += [part.batch for part, _ in parts]
                        if sum(map(len, found)) >= count:
                            return cut(found, count)
    while sum(map(len, found)) < count:
        found += found
    return cut(found, count)


def cut(batches: list[pa.RecordBatch], count: int) -> list[pa.RecordBatch]:
    """The first ``count`` events, in batches of CHUNK rows."""
    whole = pa.Table.from_batches(batches).slice(0, count).unify_dictionaries().combine_chunks().to_batches()
    return [batch.slice(start, CHUNK) for batch in whole for start in range(0, len(batch), CHUNK)]


def read_rules(root: Path) -> dict[str, str]:
    """The texts of a folder of rules, by file."""
    return {
        path.relative_to(root).as_posix(): path.read_text("utf-8")
        for path in sorted((root / "rules").rglob("*.yml"))
    }


def made_rules(batches: list[pa.RecordBatch], count: int) -> dict[str, str]:
    """Varied rules over values that the events hold, and over some that they do not."""
    draw = random.Random(1)
    names = [
        "Image",
        "CommandLine",
        "TargetObject",
        "ParentImage",
        "TargetFilename",
        "ImageLoaded",
        "CallTrace",
    ]
    matcher = Matcher(compiled(RuleSet(), names))
    values = matcher.fields.values(batches[0])
    known = {
        name: sorted(
            {text for text in values.texts.filter(pa.array(values.field == number)).to_pylist() if text}
        )
        for name, number in matcher.fields.number.items()
    }

    def part(field: str) -> str:
        text = draw.choice(known[field] or ["nothing"])
        begin = draw.randrange(max(len(text) - 6, 1))
        piece = (
            text[begin : begin + draw.randrange(4, 24)]
            .replace("\\", "\\\\")
            .replace("*", "\\*")
            .replace("?", "\\?")
        )
        return piece if draw.random() < 0.7 else f"{piece}{draw.randrange(10_000)}"

    made = {}
    for number in range(count):
        detection: dict[str, Any] = {}
        for each in range(draw.randrange(1, 4)):
            field = draw.choice(names)
            modifier = draw.choice(["contains", "contains", "startswith", "endswith", "contains|all", "re"])
            parts = [part(field) for _ in range(draw.randrange(1, 6))]
            detection[f"selection_{each}"] = {
                f"{field}|{modifier}": [re.escape(p) for p in parts] if modifier == "re" else parts
            }
        detection["filter"] = {f"{draw.choice(names)}|endswith": part(draw.choice(names))}
        detection["condition"] = draw.choice(["1 of selection_*", "all of selection_*"]) + " and not filter"
        told = {
            "title": f"Rule {number}",
            "level": "medium",
            "logsource": {
                "product": "windows",
                "category": draw.choice(
                    ["process_creation", "registry_event", "file_event", "image_load", "process_access"]
                ),
            },
            "detection": detection,
        }
        made[f"made/{number}.yml"] = yaml.safe_dump(told, allow_unicode=True)
    return made


def speed(name: str, rules: RuleSet, batches: list[pa.RecordBatch]) -> dict[str, Any]:
    """CPU time of finding fields and matching, the best of three passes."""
    matcher = Matcher(compiled(rules))
    total = sum(map(len, batches))
    best, found = float("inf"), 0
    for _ in range(4):  # the first loads the kernels
        started = time.process_time()
        found = sum(len(matcher.matches(matcher.fields.values(batch))[0]) for batch in batches)
        best = min(best, time.process_time() - started)
    reached = total / best
    return {
        "method": "guardian.sigma",
        "rules": name,
        "loaded": len(rules.rules),
        "refused": len(rules.refused),
        "events": total,
        "events/s": reached,
        "matches": found,
        "goal": None,
    }


# -- the oracle ------------------------------------------------------------------------------------------------------


def agreement(texts: dict[str, str], batches: list[pa.RecordBatch], most: int | None) -> dict[str, Any]:
    """Our matches and the oracle's for every rule that both know, and the oracle's speed."""
    rules = parse(texts)
    matcher = Matcher(compiled(rules))
    queries = dict(list(oracle_queries(texts, rules, matcher.fields.number))[:most])
    connection = table(matcher, batches)
    ours = {number: set[int]() for number in queries}
    first = 0
    for batch in batches:
        row, rule = matcher.matches(matcher.fields.values(batch))
        for at, number in zip(row.tolist(), rule.tolist(), strict=True):
            if number in ours:
                ours[number].add(first + at)
        first += len(batch)
    started = time.process_time()
    theirs = {
        number: {at for (at,) in connection.execute(f"SELECT row FROM logs WHERE {query}")}
        for number, query in queries.items()
    }
    spent = time.process_time() - started
    connection.close()
    differ = {number for number in queries if ours[number] != theirs[number]}
    return {
        "method": "pySigma SQLite backend, one query a rule",
        "rules": "of the last set, those it converts",
        "loaded": len(queries),
        "events": first,
        "events/s": first / spent,
        "matches": sum(map(len, theirs.values())),
        "rules that differ": len(differ),
        "which": "; ".join(
            f"{rules.rules[n].about.file} {len(ours[n])}/{len(theirs[n])}" for n in sorted(differ)[:5]
        )
        or None,
        "goal": "missed" if differ else "met",
    }


def oracle_queries(
    texts: dict[str, str], rules: RuleSet, fields: dict[str, int]
) -> Iterator[tuple[int, str]]:
    """Number and SQL condition of each rule that the backend converts, with our condition for its log source.

    Columns have the numbers of fields for names: to SQLite, names that differ in case only are the same.
    """
    from sigma.backends.sqlite import sqliteBackend
    from sigma.collection import SigmaCollection
    from sigma.exceptions import SigmaError
    from sigma.processing.pipeline import ProcessingItem, ProcessingPipeline
    from sigma.processing.transformations import FieldMappingTransformation

    named = FieldMappingTransformation({name: f"f{number}" for name, number in fields.items() if name})
    pipeline = ProcessingPipeline(items=[ProcessingItem(named)])
    backend = sqliteBackend(processing_pipeline=pipeline, fulltext_field=KEYWORDS)
    numbers = {(rule.about.file, rule.about.title): number for number, rule in enumerate(rules.rules)}
    for file, text in sorted(texts.items()):
        for rule in SigmaCollection.from_yaml(text).rules:
            number = numbers.get((file, str(rule.title)))
            if number is None:
                continue
            try:
                queries = backend.convert_rule(rule)
            except SigmaError:
                continue  # said by the count of rules that are compared
            source = rule.logsource
            gated = gate(source.product or "", source.category or "", source.service or "")
            conditions = [f"({query.partition(' WHERE ')[2]})" for query in queries]
            yield (
                number,
                " OR ".join(conditions)
                if gated is None
                else f"{_sql(gated, fields)} AND ({' OR '.join(conditions)})",
            )


def _sql(condition: Condition, fields: dict[str, int]) -> str:
    if isinstance(condition, Or):
        return f"({' OR '.join(_sql(part, fields) for part in condition.parts)})"
    assert isinstance(condition, Text)
    text = "".join(part.replace("'", "''") if isinstance(part, str) else "%" for part in condition.parts)
    return f"f{fields[condition.field]} LIKE '{text}'"


@cache
def _expression(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.ASCII)


def table(matcher: Matcher, batches: list[pa.RecordBatch]) -> sqlite3.Connection:
    """One row an event, one column a field, and all its texts for keywords; one row more for each further value of a field."""
    connection = sqlite3.connect(":memory:")
    connection.create_function(
        "regexp",
        2,
        lambda pattern, text: text is not None and bool(_expression(pattern).search(str(text))),
        deterministic=True,
    )
    fields = [name for name in matcher.fields.names if name]
    columns = ", ".join(f"f{matcher.fields.number[name]} TEXT COLLATE NOCASE" for name in fields)
    connection.execute(f"CREATE TABLE logs (row INTEGER, {KEYWORDS} TEXT{', ' if columns else ''}{columns})")
    place = {matcher.fields.number[name]: at + 2 for at, name in enumerate(fields)}
    first = 0
    for batch in batches:
        values = matcher.fields.values(batch)
        texts, field = values.texts.to_pylist(), values.field.tolist()
        ends, taken = values.at.tolist(), values.value.tolist()
        for row in range(len(batch)):
            line: list[Any] = [first + row, "", *[None] * len(fields)]
            held, others = [], []
            for number in taken[ends[row] : ends[row + 1]]:
                if field[number] in place:
                    at = place[field[number]]
                    if line[at] is None:
                        line[at] = texts[number]
                    else:
                        others.append((at, texts[number]))
                else:
                    held.append(texts[number])
            line[1] = "\n".join(held)
            lines = [line, *([*line[:at], text, *line[at + 1 :]] for at, text in others)]
            connection.executemany(f"INSERT INTO logs VALUES ({','.join('?' * len(line))})", lines)
        first += len(batch)
    return connection
