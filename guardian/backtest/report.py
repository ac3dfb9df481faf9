"""A backtest's result, and one explanation, as tables for a terminal, in both languages.

Owns layout only; every number comes from the result.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from rich.table import Table
from rich.text import Text

from guardian import texts
from guardian.backtest.result import Explanation, Range, Result
from guardian.levels import level_of
from guardian.view import told

_KINDS: Final = 5
"""Kinds of event that an explanation names."""


def tables(result: Result, language: texts.Language) -> Iterator[Table]:
    """Coverage, rankings, attacks and alert rates, in this order."""

    def say(key: str) -> str:
        return texts.text(f"backtest.{key}", language)

    yield _coverage(result, say("coverage"), language)

    rankings = _table(say("rankings"), say("score"), say("roc_auc"), say("average_precision"))
    for name, each in result.metrics.scorers.items():
        rankings.add_row(
            say(f"scorer_{name}"),
            _figure(each.roc_auc, each.roc_auc_interval),
            _figure(each.average_precision, each.average_precision_interval),
            style="bold" if name == "guardian" else None,
        )
    yield rankings

    attacks = _table(
        say("attacks"), say("attack"), say("first"), say("events"), say("entities"), say("peak"), say("delay")
    )
    for attack in result.metrics.attacks:
        delay = say("undetected") if attack.delay_s is None else f"{attack.delay_s:,.0f} s"
        attacks.add_row(
            Text(f"{texts.plain(attack.label)}{' *' if attack.warm_up else ''}"),
            attack.first[:19].replace("T", " "),
            f"{attack.events:,}",
            f"{attack.entities:,}",
            f"{attack.peak:.1f}",
            delay,
        )
    if any(attack.warm_up for attack in result.metrics.attacks):
        attacks.caption = say("began_in_warm_up")
    yield attacks

    alerts = _table(
        say("alerts"), say("level"), say("alerts"), say("per_day"), say("false_alerts"), say("false_rate")
    )
    for rate in result.metrics.alerts:
        alerts.add_row(
            texts.text(f"levels.{rate.level}", language),
            f"{rate.alerts:,}",
            _rate(rate.per_day),
            f"{rate.false_alerts:,}",
            _rate(rate.false_per_entity_day),
        )
    yield alerts


def explanation(found: Explanation, language: texts.Language) -> Table:
    """Why one window had its score: who, when, how much, the strongest reasons, and what happened there."""
    level = texts.text(f"levels.{level_of(found.score).word}", language)
    kinds = ", ".join(f"{texts.plain(kind)} {count:,}" for kind, count in list(found.kinds.items())[:_KINDS])
    rows = {
        "cli.entity": texts.plain(found.entity),
        "backtest.time": f"{found.start:%Y-%m-%d %H:%M:%S}",
        "cli.score": f"{found.score:.1f} ({level})",
        "cli.why": told(found.reasons, language),
        "backtest.events": f"{kinds}{', …' if len(found.kinds) > _KINDS else ''}",
    }
    table = Table(show_header=False, box=None, padding=(0, 2))
    for key, value in rows.items():
        table.add_row(texts.text(key, language), Text(value))
    return table


def _coverage(result: Result, title: str, language: texts.Language) -> Table:
    covered = result.coverage
    rejected = ", ".join(f"{reason} {count:,}" for reason, count in covered.rejected.items())
    rows = {
        "read": f"{covered.read:,}",
        "rejected": rejected or "0",
        "scored": f"{covered.scored:,}",
        "late": f"{covered.late:,}",
        "unnamed": f"{covered.unnamed:,}",
        "span": f"{covered.first[:19].replace('T', ' ')} … {covered.last[:19].replace('T', ' ')}",
        "entities": f"{covered.entities:,}",
        "windows": f"{covered.windows:,}",
        "warm_up_windows": f"{covered.warm_up_windows:,}",
        "judged_windows": f"{covered.judged_windows:,}",
        "positives": f"{covered.positives:,}",
        "entity_days": f"{covered.entity_days:,.1f}",
    }
    role = texts.text(f"backtest.role_{result.by}", language)
    table = Table(title=title, title_justify="left", show_header=False, box=None, padding=(0, 2))
    for key, value in rows.items():
        table.add_row(texts.text(f"backtest.{key}", language, by=role), value)
    return table


def _table(title: str, first: str, *others: str) -> Table:
    table = Table(title=title, title_justify="left", caption_justify="left")
    table.add_column(first, overflow="fold")
    for name in others:
        table.add_column(name, justify="right")
    return table


def _figure(value: float | None, interval: Range | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if interval is None else f"{value:.3f} [{interval[0]:.2f}, {interval[1]:.2f}]"


def _rate(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
