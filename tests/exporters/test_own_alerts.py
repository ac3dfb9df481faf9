"""What Guardian says about its own delivery."""

from __future__ import annotations

from exporters import own_alerts
from guardian.levels import Level, level_of


def test_a_hold_and_its_end_are_one_finding() -> None:
    opened = own_alerts.held("siem", 5)
    over = own_alerts.works_again("siem", 9, opened.id)
    assert (opened.activity, over.activity) == ("open", "resolved")
    assert opened.identity == over.identity == opened.id != over.id
    assert (over.level_from, over.level_to) == (Level.HIGH, Level.NONE)
    assert opened.entity == "guardian:sink:siem"


def test_levels_and_scores_agree() -> None:
    for each in (
        own_alerts.held("s", 1),
        own_alerts.works_again("s", 2, "x"),
        own_alerts.heartbeat("s", 3),
    ):
        assert level_of(each.score) is each.level_to
        assert each.reasons[0]["channel"] == "delivery"


def test_a_heartbeat_is_marked_and_the_same_for_its_moment() -> None:
    beat = own_alerts.heartbeat("siem", 5)
    assert beat.synthetic
    assert beat == own_alerts.heartbeat("siem", 5)
    assert len({beat.id, own_alerts.heartbeat("siem", 6).id, own_alerts.heartbeat("pager", 5).id}) == 3
