"""The state of the guardian as scenes: what a headset shows of it.

Owns the ``guardian_update`` payload, a pure function of a :class:`guardian.view.View`. Names of entities stay out:
whoever stands beside the headset may read it, and an entity's name is personal data. Kinds stay out for the same
reason, since a badly mapped source can put a name into one.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from msgspec import Struct

from guardian import texts
from guardian.levels import COLOUR, LIGHT, MOOD, Level, level_of
from guardian.view import EntityView, Standing, View
from xr_telemetry.envelope import moment

GLOBAL_SCENE: Final = "guardian-global"
MAX_OVERLAYS: Final = 3
"""Entities told about; more cannot be read in a headset."""

MAX_REASONS: Final = 3


class Overlay(Struct, frozen=True, kw_only=True, rename="camel"):
    """One text in a scene, in each language. The level stands in words, since colour is never the only sign."""

    role: str
    """Role of the entity it is about; ``guardian`` or ``protocol`` for the whole."""
    level: str
    text: dict[str, str]


class Scene(Struct, frozen=True, kw_only=True, rename="camel"):
    """Payload of one ``guardian_update``. ``scene_id``, ``mood``, ``overlays`` and ``updated_at`` are TAMV's."""

    scene_id: str
    mood: str
    overlays: tuple[Overlay, ...]
    updated_at: datetime
    level: str
    intensity: float
    """score / 100, two decimals: what changes less is not seen."""
    colour: str
    light: str


def scenes(view: View) -> list[Scene]:
    """The global scene, then one a protocol in the order of their ids."""
    at = moment(view.updated_at)
    told = [_entity(entity) for entity in view.top if entity.level > Level.NONE][:MAX_OVERLAYS]
    overall = _standing("guardian", Standing(view.score, view.level))
    found = [_scene(GLOBAL_SCENE, Standing(view.score, view.level), (overall, *told), at)]
    for protocol, standing in sorted(view.protocols.items()):
        overlay = _standing("protocol", standing, protocol)
        found.append(_scene(f"guardian-{protocol}", standing, (overlay,), at))
    return found


def _scene(scene_id: str, standing: Standing, overlays: tuple[Overlay, ...], at: datetime) -> Scene:
    level = standing.level
    return Scene(
        scene_id=scene_id,
        mood=MOOD[level],
        overlays=overlays,
        updated_at=at,
        level=level.word,
        intensity=round(min(max(standing.score / 100, 0.0), 1.0), 2),
        colour=COLOUR[level],
        light=LIGHT[level],
    )


def _standing(role: str, standing: Standing, protocol: str = "") -> Overlay:
    def say(language: texts.Language) -> str:
        return texts.text(
            f"xr.{role}",
            language,
            protocol=protocol,
            level=texts.text(f"levels.{standing.level.word}", language),
            score=round(standing.score),
        )

    return Overlay(role=role, level=standing.level.word, text={each: say(each) for each in texts.LANGUAGES})


def _entity(entity: EntityView) -> Overlay:
    strongest = sorted(entity.reasons, key=lambda reason: -reason.contribution)[:MAX_REASONS]
    left = strongest[0].level_without if strongest else Level.NONE
    would_change = bool(strongest) and left != level_of(entity.score)

    def say(language: texts.Language) -> str:
        reasons = ", ".join(
            texts.text(
                "xr.reason",
                language,
                channel=texts.text(f"xr.channel_{reason.channel}", language),
                points=round(reason.contribution),
            )
            for reason in strongest
        )
        told = texts.text(
            "xr.entity" if reasons else "xr.entity_without_reasons",
            language,
            role=texts.text(f"xr.role_{entity.role}", language),
            level=texts.text(f"levels.{entity.level.word}", language),
            score=round(entity.score),
            reasons=reasons,
        )
        if not would_change:
            return told
        word = texts.text(f"levels.{left.word}", language)
        return f"{told}. {texts.text('xr.without', language, level=word)}"

    return Overlay(
        role=entity.role, level=entity.level.word, text={each: say(each) for each in texts.LANGUAGES}
    )
