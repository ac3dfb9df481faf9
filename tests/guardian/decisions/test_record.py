import pytest

from guardian.decisions.record import iso, severity_level
from guardian.levels import Level


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (9_223_372_036_854_775_807, "2262-04-11T23:47:16.854Z"),
        (1_767_225_600_999_999_999, "2026-01-01T00:00:00.999Z"),
    ],
)
def test_iso_cuts_and_never_rounds_up(at: int, text: str):
    assert iso(at) == text


def test_severities_are_levels():
    assert [severity_level(word) for word in ("low", "medium", "high", "critical")] == list(Level)[1:]
