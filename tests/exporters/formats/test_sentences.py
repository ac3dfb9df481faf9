"""What a person reads: both languages, each step, every number that must be told."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporters import own_alerts
from exporters.alert import Alert
from exporters.formats.sentences import description, title
from guardian import texts
from guardian.events import CHANNELS, CONTEXT
from guardian.texts import LANGUAGES, Language
from tests.twins_forms import alerts

TITLES = {
    ("open", "es-MX"): "Nivel alto en un usuario (72 de 100)",
    ("open", "en"): "Level high at a user (72 of 100)",
    ("update", "es-MX"): "Cambió: de nivel alto a crítico en un usuario (85 de 100)",
    ("update", "en"): "Changed: from level high to critical at a user (85 of 100)",
    ("resolved", "es-MX"): "Resuelto: terminó el nivel crítico en un usuario",
    ("resolved", "en"): "Resolved: level critical at a user is over",
}


@pytest.mark.parametrize(("told", "language"), TITLES)
def test_titles(steps: dict[str, Alert], told: str, language: Language) -> None:
    assert title(steps[told], language) == TITLES[told, language]


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_guardian_says_about_its_own_delivery(language: Language) -> None:
    at = 10**18
    for told, key in (
        (own_alerts.held("siem", at), "held"),
        (own_alerts.works_again("siem", at, "ab" * 16), "works_again"),
        (own_alerts.heartbeat("siem", at), "heartbeat"),
    ):
        assert title(told, language) == texts.text(f"alerts.{key}", language)
        assert description(told, language) == texts.text(f"alerts.{key}_why", language)


def test_a_summary_tells_its_number_and_since_when(steps: dict[str, Alert]) -> None:
    said = description(steps["suppressed"], "es-MX")
    assert "Alertas suprimidas desde 2023-11-14T22:14:20.123Z: 12." in said
    assert "Alerts suppressed: 12." in description(
        dataclasses.replace(steps["suppressed"], suppressed_since=0), "en"
    )
    assert "supr" not in description(steps["open"], "es-MX")


def test_what_a_reader_must_know_is_said(steps: dict[str, Alert]) -> None:
    assert description(steps["open"], "es-MX") == "Por qué subió: regla 70 (login|failed); contexto 2."
    assert "can confirm" in description(steps["update"], "en")
    assert "Synthetic" in description(steps["suppressed"], "en")
    assert description(steps["resolved"], "es-MX") == "Terminó el 2023-11-14T22:28:20.123Z."


def test_nothing_to_explain_is_not_an_empty_sentence(steps: dict[str, Alert]) -> None:
    bare = dataclasses.replace(steps["open"], reasons=())
    assert description(bare, "en") == title(bare, "en")


def test_a_role_of_its_own_has_a_word(steps: dict[str, Alert]) -> None:
    assert title(dataclasses.replace(steps["open"], role="sink"), "es-MX").startswith(
        "Nivel alto en una entidad"
    )


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_channel_has_a_word(steps: dict[str, Alert], language: Language) -> None:
    for channel in (*CHANNELS, CONTEXT):
        reason = {"channel": channel, "contribution": 1.0, "kind": "", "event": 0, "without": 0.0}
        said = description(dataclasses.replace(steps["open"], reasons=(reason,)), language)
        assert "_" not in said


@given(alert=alerts(), language=st.sampled_from(LANGUAGES))
def test_a_title_names_nobody_and_depends_on_no_name(alert: Alert, language: Language) -> None:
    assert title(alert, language) == title(dataclasses.replace(alert, entity="", reasons=()), language)
    assert description(alert, language)
