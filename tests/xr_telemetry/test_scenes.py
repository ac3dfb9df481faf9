"""What headsets are shown, and what they are not."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian import texts
from guardian.events import CHANNELS, CONTEXT, ROLES
from guardian.levels import Level, level_of
from guardian.view import EntityView, Reason, Standing, View
from xr_telemetry.scenes import MAX_OVERLAYS, scenes

AT = 1_767_225_600_250_000_000


def entity(
    name: str,
    score: float,
    *,
    role: str = "actor",
    reasons: tuple[tuple[str, float], ...] = (("novelty", 30.0),),
    without: float = 0.0,
) -> EntityView:
    return EntityView(
        role,
        name,
        score,
        level_of(score),
        0,
        0,
        1,
        4,
        tuple(Reason(channel, points, f"/users/{name}", 3, without) for channel, points in reasons),
    )


def view(score: float = 0.0, *, protocols: Any = None, top: Any = ()) -> Any:
    return View(score, level_of(score), AT, 10, 0, {}, protocols or {}, tuple(top))


def wire(found: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(found))


def test_a_quiet_view_is_one_calm_scene() -> None:
    (scene,) = wire(scenes(view()))
    assert scene == {
        "sceneId": "guardian-global",
        "mood": "calm",
        "overlays": [
            {
                "role": "guardian",
                "level": "none",
                "text": {"es-MX": "Guardián: ninguno, 0 de 100", "en": "Guardian: none, 0 of 100"},
            }
        ],
        "updatedAt": "2026-01-01T00:00:00.250000Z",
        "level": "none",
        "intensity": 0.0,
        "colour": "#34c759",
        "light": "day",
    }


@pytest.mark.parametrize(
    ("score", "mood", "light"),
    [
        (10, "calm", "day"),
        (30, "calm", "day"),
        (50, "calm", "day"),
        (70, "alert", "dusk"),
        (90, "critical", "alarm"),
    ],
)
def test_moods_of_the_levels(score: float, mood: str, light: str) -> None:
    (scene,) = scenes(view(score))
    assert (scene.mood, scene.light, scene.intensity) == (mood, light, score / 100)


def test_every_protocol_has_a_scene_in_the_order_of_ids() -> None:
    standing = Standing(85.0, Level.CRITICAL)
    found = scenes(view(protocols={"xr": standing, "fenix": Standing(0.0, Level.NONE)}))
    assert [scene.scene_id for scene in found] == ["guardian-global", "guardian-fenix", "guardian-xr"]
    assert found[2].mood == "critical"
    assert found[2].overlays[0].text["en"] == "Protocol xr: critical, 85 of 100"


def test_overlays_tell_roles_and_reasons_but_no_names() -> None:
    found = scenes(
        view(70, top=[entity("ana.lopez", 72.0, reasons=(("burst", 20.0), ("novelty", 50.0), ("rule", 2.0)))])
    )
    text = found[0].overlays[1].text
    assert text["en"] == (
        "A user: high, 72 of 100. Why: something never seen before (50), much more than usual (20), "
        "a known attack pattern (2). Without the first: none"
    )
    assert text["es-MX"].startswith("Una persona usuaria: alto, 72 de 100. Por qué: algo nunca visto (50)")
    assert b"ana" not in msgspec.json.encode(found)


def test_what_would_be_without_the_first_is_told_only_where_it_changes_the_level() -> None:
    lower = scenes(view(70, top=[entity("x", 72.0, without=41.0)]))[0].overlays[1].text
    assert lower["en"].endswith("(30). Without the first: medium")
    assert lower["es-MX"].endswith("(30). Sin lo primero: medio")
    same = scenes(view(70, top=[entity("x", 72.0, without=60.0)]))[0].overlays[1].text
    assert same["en"].endswith("(30)")


def test_few_overlays_and_none_of_the_calm() -> None:
    top = [entity(str(number), 90.0 - number) for number in range(20)] + [entity("quiet", 3.0)]
    assert len(scenes(view(90, top=top))[0].overlays) == 1 + MAX_OVERLAYS
    assert len(scenes(view(9, top=top[-1:]))[0].overlays) == 1


def test_an_entity_without_reasons_is_told_without() -> None:
    found = scenes(view(70, top=[entity("x", 61.0, role="target", reasons=())]))
    assert found[0].overlays[1].text["en"] == "A service: high, 61 of 100"


@pytest.mark.parametrize("language", texts.LANGUAGES)
def test_every_role_and_channel_has_a_word(language: texts.Language) -> None:
    for role in ROLES:
        assert texts.text(f"xr.role_{role}", language)
    for channel in (*CHANNELS, CONTEXT):
        assert texts.text(f"xr.channel_{channel}", language)


@given(
    st.floats(0, 100),
    st.lists(st.tuples(st.text(), st.floats(0, 100), st.sampled_from(ROLES)), max_size=6),
    st.integers(-(2**63), 2**63 - 1),
)
def test_scenes_are_pure_and_in_range(score: float, entities: list[tuple[str, float, str]], at: str) -> None:
    shown = View(
        score,
        level_of(score),
        at,
        1,
        0,
        {},
        {},
        tuple(entity(name, each, role=role) for name, each, role in entities),
    )
    found = scenes(shown)
    assert found == scenes(shown)
    assert all(0 <= scene.intensity <= 1 for scene in found)
    msgspec.json.encode(found)
