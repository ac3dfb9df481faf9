"""ATT&CK tags as Sigma writes them, and what is none."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from exporters.formats.attack import TACTICS, attack
from tests.twins_forms import HOSTILE


def test_tactics_and_techniques_stand_once_each_in_their_order() -> None:
    made = attack(
        ("attack.T1110", "attack.impact", "attack.t1110", "attack.t1078.004", "attack.initial_access")
    )
    assert made.tactics == (("TA0040", "Impact"), ("TA0001", "Initial Access"))
    assert made.techniques == ("T1110", "T1078.004")


def test_all_tactics_have_ids_of_their_own() -> None:
    assert len({uid for uid, _ in TACTICS.values()}) == len(TACTICS) == 14
    assert all(name.lower().replace(" ", "-") == word for word, (_, name) in TACTICS.items())


@given(tags=st.lists(HOSTILE | HOSTILE.map("attack.{}".format), max_size=5))
def test_what_is_no_tag_of_attack_is_passed_over(tags: list[str]) -> None:
    made = attack(tags)
    assert set(made.tactics) <= set(TACTICS.values())
    assert all(each.isascii() and each.startswith("T") for each in made.techniques)
