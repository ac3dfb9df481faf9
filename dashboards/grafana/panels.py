"""Grafana panels as plain dictionaries: one function a kind of panel, one a query.

Owns what is the same for all panels: the templated data source, both languages in title and description, and the
matchers on job and instance. What is on the board is ``build``'s.
"""

# ruff: noqa: INP001  (a script beside its data, not a package)

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
SCOPE: Final = 'job=~"$job", instance=~"$instance"'
"""On every selector: the board shows what its variables choose."""

GREEN, YELLOW, ORANGE, RED = "#34c759", "#ffcc00", "#ff9500", "#ff3b30"
LEVELS: Final = (
    ("Ninguno · None", GREEN),
    ("Bajo · Low", GREEN),
    ("Medio · Medium", YELLOW),
    ("Alto · High", ORANGE),
    ("Crítico · Critical", RED),
)

Panel = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Words:
    """A text in both languages."""

    es: str
    en: str

    def title(self) -> str:
        """Both on one line."""
        return f"{self.es} · {self.en}"

    def description(self) -> str:
        """Both, each a paragraph."""
        return f"{self.es}\n\n{self.en}"


def query(expr: str, legend: str = "", *, heatmap: bool = False, exemplars: bool = False) -> dict[str, Any]:
    """One target. In ``expr`` a selector is written ``name{@}`` or ``name{@, more="labels"}``; ``@`` is the scope."""
    return {
        "datasource": DATASOURCE,
        "editorMode": "code",
        "exemplar": exemplars,
        "expr": expr.replace("@", SCOPE),
        "format": "heatmap" if heatmap else "time_series",
        "legendFormat": legend or "__auto",
        "range": True,
    }


def panel(
    kind: str,
    title: Words,
    description: Words,
    targets: list[dict[str, Any]],
    *,
    unit: str,
    width: int,
    height: int = 8,
    defaults: dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
) -> Panel:
    """A panel without its place and id, which ``build`` gives."""
    for ref, target in zip("ABCDEFGH", targets, strict=False):
        target["refId"] = ref
    return {
        "type": kind,
        "title": title.title(),
        "description": description.description(),
        "datasource": DATASOURCE,
        "targets": targets,
        "fieldConfig": {"defaults": {"unit": unit, **(defaults or {})}, "overrides": []},
        "options": options or {},
        "gridPos": {"w": width, "h": height},
    }


def lines(
    title: Words,
    description: Words,
    targets: list[dict[str, Any]],
    *,
    unit: str,
    width: int = 8,
    stacked: bool = False,
    limits: tuple[tuple[float, str], ...] = (),
    most: float | None = None,
) -> Panel:
    """Values over time; ``limits`` are drawn as dashed lines, from (value, colour)."""
    custom: dict[str, Any] = {"fillOpacity": 30 if stacked else 8, "lineWidth": 2, "showPoints": "never"}
    if stacked:
        custom["stacking"] = {"mode": "normal", "group": "A"}
    if limits:
        custom["thresholdsStyle"] = {"mode": "dashed"}
    defaults: dict[str, Any] = {"custom": custom, "min": 0, "thresholds": thresholds(limits)}
    if most is not None:
        defaults["max"] = most
    options = {
        "legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"]},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return panel(
        "timeseries", title, description, targets, unit=unit, width=width, defaults=defaults, options=options
    )


def number(
    title: Words,
    description: Words,
    target: dict[str, Any],
    *,
    unit: str,
    width: int = 4,
    limits: tuple[tuple[float, str], ...] = (),
    words: tuple[tuple[str, str], ...] = (),
    decimals: int | None = None,
) -> Panel:
    """The value now; ``words`` name the values 0, 1, 2 … and colour them."""
    defaults: dict[str, Any] = {"thresholds": thresholds(limits)}
    if words:
        defaults["mappings"] = mappings(words)
    if decimals is not None:
        defaults["decimals"] = decimals
    options = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "background" if words or limits else "none",
        "graphMode": "none" if words else "area",
        "textMode": "value",
    }
    return panel(
        "stat", title, description, [target], unit=unit, width=width, defaults=defaults, options=options
    )


def states(title: Words, description: Words, target: dict[str, Any], *, width: int = 12) -> Panel:
    """Levels over time, one line a series, in words and colours."""
    defaults = {"mappings": mappings(LEVELS), "thresholds": thresholds(()), "custom": {"fillOpacity": 75}}
    options = {
        "mergeValues": True,
        "showValue": "never",
        "legend": {"displayMode": "list", "placement": "bottom"},
    }
    return panel(
        "state-timeline",
        title,
        description,
        [target],
        unit="short",
        width=width,
        defaults=defaults,
        options=options,
    )


def heatmap(title: Words, description: Words, target: dict[str, Any], *, unit: str, width: int = 8) -> Panel:
    """The buckets of a histogram over time."""
    options = {
        "calculate": False,
        "color": {"mode": "scheme", "scheme": "Oranges", "steps": 32},
        "yAxis": {"unit": unit},
        "legend": {"show": True},
        "tooltip": {"mode": "single", "yHistogram": True},
        "exemplars": {"color": RED},
    }
    return panel("heatmap", title, description, [target], unit=unit, width=width, options=options)


def thresholds(limits: tuple[tuple[float, str], ...]) -> dict[str, Any]:
    """Green, then each colour from its value on."""
    steps: list[dict[str, Any]] = [{"color": GREEN, "value": None}]
    steps += [{"color": colour, "value": value} for value, colour in limits]
    return {"mode": "absolute", "steps": steps}


def mappings(words: tuple[tuple[str, str], ...]) -> list[dict[str, Any]]:
    """Value → word and colour."""
    return [
        {
            "type": "value",
            "options": {
                str(value): {"text": text, "color": colour, "index": value}
                for value, (text, colour) in enumerate(words)
            },
        }
    ]
