"""A map as tables: every key that it names leads to its field, and what the scanner must not read is marked."""

from __future__ import annotations

from guardian.decode import json_layout as on
from guardian.decode.json_plan import Compiled, compiled
from guardian.decode.mapfile import builtin_map, parse_map


def walk(tables: Compiled, *keys: str) -> list[int]:
    """The node that some keys lead to."""
    plan, node = tables.plan, 0
    for key in keys:
        (node,) = [
            child
            for start, at, size, child in plan.edges.tolist()
            if start == node and plan.text[at : at + size].tobytes().decode() == key
        ]
    return plan.nodes[node].tolist()


def test_a_dotted_name_is_one_key_or_several() -> None:
    tables = compiled(builtin_map("ecs"))
    whole, stepped = walk(tables, "user.name"), walk(tables, "user", "name")
    assert whole[on.FIELD] == stepped[on.FIELD] >= 0
    assert (whole[on.DIRECT], stepped[on.DIRECT]) == (1, 0)
    assert walk(tables, "user")[on.INNER] == 1
    assert walk(tables, "message")[on.INNER] == 0


def test_what_is_left_to_msgspec() -> None:
    tables = compiled(
        parse_map(
            "[map]\nts = { field = 't', unit = 's' }\nkind = { field = 'a.b.c' }\nlabel = { field = 'x.y.z' }"
        )
    )
    assert walk(tables, "a", "b.c")[on.TRAP] == 1, "taking out a.b.c would take this key"
    assert walk(tables, "a", "b", "c")[on.TRAP] == 0
    assert walk(tables, "x")[on.NO_EMPTY] == walk(tables, "x", "y")[on.NO_EMPTY] == 1
    assert walk(tables, "a")[on.NO_EMPTY] == 0


def test_words_come_before_names_and_the_body_last() -> None:
    tables = compiled(builtin_map("tamv"))
    assert tables.columns[:5] == ("outcome", "severity", "layer", "trace_id", "span_id")
    assert len(tables.plan.columns) == len(tables.columns) + 1
    assert tables.plan.columns[1, on.ROLE] == on.NUMBER_WORD


def test_a_map_is_compiled_once() -> None:
    assert compiled(builtin_map("otel")) is compiled(builtin_map("otel"))


def test_every_edge_is_found_by_its_hash() -> None:
    plan = compiled(builtin_map("otel")).plan
    mask = len(plan.slots) - 1
    assert len(plan.slots) >= 4 * len(plan.edges)
    for number, found in enumerate(plan.hashes.tolist(), 1):
        place = found & mask
        while plan.slots[place] != number:
            assert plan.slots[place] != 0
            place = (place + 1) & mask
