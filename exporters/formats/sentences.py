"""What a person reads in an alert, in one language. The same sentences stand in every form."""

from __future__ import annotations

from typing import Final

from exporters import own_alerts
from exporters.alert import Alert
from guardian import texts
from guardian.decisions.record import iso
from guardian.texts import Language

_REASONS: Final = 5
"""Reasons that are told; all of them stand in the forms that have fields for them."""
_ROLES: Final = frozenset({"actor", "address", "target", "session"})


def title(alert: Alert, language: Language) -> str:
    """One line: what happened, to what kind of entity. Names nobody."""
    if own := _own(alert):
        return texts.text(own, language)
    return texts.text(
        f"alerts.{'title' if alert.activity == 'open' else alert.activity}",
        language,
        level=texts.text(f"levels.{alert.level_to.word}", language),
        before=texts.text(f"levels.{alert.level_from.word}", language),
        role=texts.text(f"alerts.{alert.role if alert.role in _ROLES else 'other'}", language),
        score=f"{alert.score:.0f}",
    )


def description(alert: Alert, language: Language) -> str:
    """Why, and what a reader must know beside it."""
    if own := _own(alert):
        return texts.text(f"{own}_why", language)
    told = []
    if alert.activity == "resolved":
        told.append(texts.text("alerts.over", language, at=iso(alert.created_at)))
    if alert.reasons:
        told.append(texts.text("alerts.description", language, reasons=_reasons(alert, language)))
    if alert.suppressed:
        key = "alerts.suppressed_since" if alert.suppressed_since else "alerts.suppressed"
        told.append(texts.text(key, language, count=alert.suppressed, since=iso(alert.suppressed_since)))
    if alert.extrapolated:
        told.append(texts.text("alerts.extrapolated", language))
    if alert.synthetic:
        told.append(texts.text("alerts.synthetic", language))
    return " ".join(told) or title(alert, language)


def _own(alert: Alert) -> str:
    """The text of what Guardian says about its own delivery; empty when it says something else."""
    if alert.config != own_alerts.CHANNEL or not alert.reasons:
        return ""
    if alert.reasons[0]["kind"] == own_alerts.BEAT:
        return "alerts.heartbeat"
    return "alerts.works_again" if alert.activity == "resolved" else "alerts.held"


def _reasons(alert: Alert, language: Language) -> str:
    words = texts.catalogue("bookpi", language)
    return "; ".join(
        f"{words.get('word_' + reason['channel'], reason['channel'])} {reason['contribution']:.0f}"
        + (f" ({reason['kind']})" if reason["kind"] else "")
        for reason in alert.reasons[:_REASONS]
    )
