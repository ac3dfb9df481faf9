"""Texts of Sigma rules to a set of rules, or to a reason why one is not loaded.

Owns what of Sigma is understood. The grammar (YAML, modifiers, conditions, references) is pySigma's, with its own errors
and places; what it parses and we cannot evaluate exactly is refused here, never skipped. Source: the Sigma specification
2.1, rules and correlations. Every rule is looked at, and all reasons come at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from guardian.sigma.logsources import gate
from guardian.sigma.rule import (
    ANY_TEXT,
    About,
    And,
    Atom,
    Comparison,
    Condition,
    Correlation,
    Network,
    Not,
    Number,
    Or,
    Present,
    Reference,
    Refused,
    Regex,
    Rule,
    RuleSet,
    Text,
    Wild,
)

POINTS: Final = {"informational": 0.0, "low": 1.0, "medium": 15.0, "high": 30.0, "critical": 50.0}
"""Points of the ``rule`` channel that a match gives, by the rule's level: those of TAMV's sentinel for the same level."""

MOST_COUNTED: Final = 4096
"""Largest threshold of a correlation: as many times or values are remembered for each of its groups."""

_COUNTS: Final = ("event_count", "value_count")
_ORDERS: Final = ("temporal", "temporal_ordered")


class _UnsupportedError(Exception):
    """Why a rule cannot be loaded: what was found, and what was expected."""


def parse(texts: Mapping[str, str], *, exclude: Iterable[str] = ()) -> RuleSet:
    """All rules of some texts, by file; those whose id or title is in ``exclude`` are left out."""
    from sigma.collection import SigmaCollection
    from sigma.correlations import SigmaCorrelationRule
    from sigma.exceptions import SigmaRuleLocation
    from yaml import YAMLError

    left_out = set(exclude)
    refused: list[Refused] = []
    found: list[Any] = []
    files: dict[int, str] = {}
    for file, text in sorted(texts.items()):
        try:
            collection = SigmaCollection.from_yaml(text, True, SigmaRuleLocation(Path(file)), True, False)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, YAMLError) as error:
            refused.append(Refused(file, "", "", f"expected Sigma rules in YAML, got {_plain(error)}"))
            continue
        known = [error for rule in collection.rules for error in rule.errors]
        refused += [Refused(file, "", "", _plain(error)) for error in collection.errors if error not in known]
        if not collection.rules and not collection.filters and not collection.errors:
            refused.append(Refused(file, "", "", "expected Sigma rules, got none"))
        for rule in (*collection.rules, *collection.filters):
            files[id(rule)] = file
            title, own = str(rule.title or ""), str(rule.id or "")
            if own in left_out or title in left_out:
                continue
            if rule.errors:
                refused.append(Refused(file, title, own, "; ".join(map(_plain, rule.errors))))
            else:
                found.append(rule)
    return _RuleSetBuilder(files, refused, SigmaCorrelationRule).built(found)


class _RuleSetBuilder:
    """From rules of pySigma to ours: references first, so that a rule only refers to what stands before it."""

    def __init__(self, files: dict[int, str], refused: list[Refused], correlation: type) -> None:
        self._files = files
        self._refused = refused
        self._correlation = correlation
        self._names: set[str] = set()
        self._fed: set[int] = set()
        """Rules that a correlation refers to and that report nothing themselves."""

    def built(self, found: list[Any]) -> RuleSet:
        simple = [rule for rule in found if type(rule).__name__ == "SigmaRule"]
        related = [rule for rule in found if isinstance(rule, self._correlation)]
        for rule in found:
            if rule not in simple and rule not in related:
                self._refuse(rule, "expected a detection or a correlation, got a filter")
        by_name = {key: rule for rule in found for key in (str(rule.id or ""), rule.name) if key}
        self._note_fed(related, by_name)
        places: dict[int, int] = {}
        rules: list[Rule] = []
        for rule in simple:
            try:
                made = Rule(self._about(rule), _rule_condition(rule))
            except _UnsupportedError as error:
                self._refuse(rule, str(error))
                continue
            places[id(rule)] = len(rules)
            rules.append(made)
        correlations = self._correlations(related, by_name, places, len(rules))
        return RuleSet(tuple(rules), tuple(correlations), tuple(self._refused))

    def _note_fed(self, related: list[Any], by_name: Mapping[str, Any]) -> None:
        for rule in related:
            if not rule.generate:
                for reference in rule.rules or ():
                    if reference.reference in by_name:
                        self._fed.add(id(by_name[reference.reference]))

    def _correlations(
        self, related: list[Any], by_name: Mapping[str, Any], places: dict[int, int], first: int
    ) -> list[Correlation]:
        made: list[Correlation] = []
        waiting = related
        while waiting:
            later: list[Any] = []
            for rule in waiting:
                targets = [by_name.get(each.reference) for each in rule.rules or ()]
                if (
                    any(target is not None and target in waiting for target in targets)
                    and rule not in targets
                ):
                    later.append(rule)
                    continue
                try:
                    one = _correlation(rule, targets, places, self._about(rule))
                except _UnsupportedError as error:
                    self._refuse(rule, str(error))
                    continue
                places[id(rule)] = first + len(made)
                made.append(one)
            if len(later) == len(waiting):
                for rule in later:
                    self._refuse(rule, "expected rules that do not refer to each other in a circle")
                break
            waiting = later
        return made

    def _about(self, rule: Any) -> About:
        title, own = str(rule.title or ""), str(rule.id or "")
        reports = id(rule) not in self._fed
        level = rule.level.name.lower() if rule.level is not None else ""
        if reports and level not in POINTS:
            raise _UnsupportedError(f"level: expected one of {', '.join(POINTS)}, got nothing")
        if not title:
            raise _UnsupportedError("title: expected a text, got nothing")
        name = title if title not in self._names else f"{title} ({own or self._files[id(rule)]})"
        if name in self._names:
            raise _UnsupportedError("id: expected one that no other rule has")
        self._names.add(name)
        return About(
            name=name,
            title=title,
            id=own,
            file=self._files[id(rule)],
            level=level or "informational",
            tags=tuple(dict.fromkeys(f"attack.{tag.name}" for tag in rule.tags if tag.namespace == "attack")),
            reports=reports,
        )

    def _refuse(self, rule: Any, reason: str) -> None:
        self._refused.append(
            Refused(self._files[id(rule)], str(rule.title or ""), str(rule.id or ""), reason)
        )


def _plain(error: BaseException) -> str:
    """What an error says, on one line, without the place that stands beside it anyway."""
    told = str(error.args[0]) if error.args and getattr(error, "source", None) is not None else str(error)
    return " ".join(told.split())[:300] or type(error).__name__


def _rule_condition(rule: Any) -> Condition:
    conditions: list[Condition] = []
    for each in rule.detection.parsed_condition:
        try:
            parsed = each.parsed
        except (ValueError, RecursionError) as error:
            raise _UnsupportedError(_plain(error)) from None
        conditions.append(_condition(parsed))
    whole = conditions[0] if len(conditions) == 1 else Or(tuple(conditions))
    source = rule.logsource
    gated = gate(source.product or "", source.category or "", source.service or "")
    return whole if gated is None else And((gated, whole))


def _condition(node: Any) -> Condition:
    kind = type(node).__name__
    if kind in ("ConditionAND", "ConditionOR"):
        parts = tuple(_condition(each) for each in node.args if each is not None)
        return And(parts) if kind == "ConditionAND" else Or(parts)
    if kind == "ConditionNOT":
        return Not(_condition(node.args[0]))
    if kind == "ConditionFieldEqualsValueExpression":
        return _valued(node.field, node.value)
    if kind == "ConditionValueExpression":
        return _valued(ANY_TEXT, node.value)
    raise _UnsupportedError("expected a condition that selects something, got one that names no selection")


def _valued(field: str, value: Any) -> Condition:
    kind = type(value).__name__
    if kind == "SigmaExpansion":
        return Or(tuple(_valued(field, each) for each in value.values))
    if kind in ("SigmaString", "SigmaCasedString"):
        return _text(field, value, cased=kind == "SigmaCasedString")
    if kind == "SigmaNumber":
        if field == ANY_TEXT:
            return Text(field, (Wild.MANY, str(value.number), Wild.MANY))
        return _number(field, "eq", value.number)
    if kind == "SigmaBool":
        return Text(field, ("true" if value.boolean else "false",))
    if kind == "SigmaRegularExpression":
        return _regex(field, value)
    if field == ANY_TEXT:
        raise _UnsupportedError("expected a field before this modifier, got a keyword")
    if kind == "SigmaNull":
        return Not(Present(field))
    if kind == "SigmaExists":
        return Present(field) if value.exists else Not(Present(field))
    if kind == "SigmaCIDRExpression":
        return Network(field, str(value.network))
    if kind == "SigmaCompareExpression":
        operator = value.op.name.lower()
        if operator == "neq":
            return Not(_number(field, "eq", value.number.number))
        return _number(field, operator, value.number.number)
    if kind == "SigmaFieldReference":
        return Reference(field, value.field, value.starts_with, value.ends_with)
    if kind == "SigmaTimestampPart":
        raise _UnsupportedError("expected no part of a time (|hour, |day …): no field here is a time")
    raise _UnsupportedError(f"expected a text, number, boolean or null, got {kind}")


def _number(field: str, comparison: Comparison, number: float) -> Number:
    if not abs(number) <= 2.0**53:
        raise _UnsupportedError(f"expected a number that a double holds exactly, got {number}")
    return Number(field, comparison, float(number))


def _text(field: str, value: Any, *, cased: bool) -> Atom:
    parts: list[str | Wild] = []
    for part in value.s:
        if isinstance(part, str):
            parts.append(part)
        elif type(part).__name__ == "Placeholder":
            raise _UnsupportedError(f"expected a text without placeholders, got %{part.name}%")
        else:
            parts.append(Wild.MANY if part.name == "WILDCARD_MULTI" else Wild.ONE)
    if field == ANY_TEXT:
        parts = [Wild.MANY, *parts, Wild.MANY]
    told = [part for at, part in enumerate(parts) if part is not Wild.MANY or parts[at - 1 : at] != [part]]
    return Text(field, tuple(told), cased)


def _regex(field: str, value: Any) -> Regex:
    if value.contains_placeholder():
        raise _UnsupportedError("expected a regular expression without placeholders")
    flags = "".join(sorted(value.sigma_to_re_flag[flag] for flag in value.flags))
    pattern = (f"(?{flags})" if flags else "") + str(value.regexp)
    try:
        pc.match_substring_regex(pa.array([""]), pattern)
    except pa.ArrowInvalid as error:
        raise _UnsupportedError(f"expected a regular expression of RE2, got {_plain(error)}") from None
    return Regex(field, pattern)


def _correlation(rule: Any, targets: list[Any], places: Mapping[int, int], about: About) -> Correlation:
    kind = rule.type.name.lower()
    if kind not in (*_COUNTS, *_ORDERS):
        raise _UnsupportedError(f"type: expected one of {', '.join((*_COUNTS, *_ORDERS))}, got {kind}")
    if not rule.rules:
        raise _UnsupportedError("rules: expected a list of rules (conditions over rules are not evaluated)")
    numbers: list[int] = []
    for reference, target in zip(rule.rules, targets, strict=True):
        if target is None or id(target) not in places:
            raise _UnsupportedError(
                f"rules: expected names or ids of loaded rules, got {reference.reference}"
            )
        numbers.append(places[id(target)])
    condition = rule.condition
    if type(condition).__name__ != "SigmaCorrelationCondition":
        raise _UnsupportedError("condition: expected gte or gt (conditions over rules are not evaluated)")
    operator = condition.op.name.lower()
    if operator not in ("gte", "gt"):
        raise _UnsupportedError(f"condition: expected gte or gt, which an event can complete, got {operator}")
    if condition.count != int(condition.count):
        raise _UnsupportedError(f"condition: expected a whole number, got {condition.count}")
    at_least = int(condition.count) + (operator == "gt")
    most = MOST_COUNTED if kind in _COUNTS else len(numbers)
    if not 1 <= at_least <= most:
        raise _UnsupportedError(f"condition: expected 1 to {most}, got {at_least}")
    if kind == "temporal_ordered" and at_least != len(numbers):
        raise _UnsupportedError("condition: expected all rules in their order")
    if kind == "temporal_ordered" and len(set(numbers)) != len(numbers):
        raise _UnsupportedError("rules: expected each rule once")
    value = condition.fieldref if kind == "value_count" else ""
    if not isinstance(value, str):
        raise _UnsupportedError("condition.field: expected one field")
    aliases = {
        alias.alias: {each.reference: field for each, field in alias.mapping.items()}
        for alias in rule.aliases
    }
    groups = tuple(
        tuple(aliases.get(name, {}).get(reference.reference, name) for name in rule.group_by or ())
        for reference in rule.rules
    )
    return Correlation(
        about=about,
        kind=kind,
        rules=tuple(numbers),
        group_by=groups,
        timespan_ns=rule.timespan.seconds * 10**9,
        at_least=at_least,
        value=value,
    )
