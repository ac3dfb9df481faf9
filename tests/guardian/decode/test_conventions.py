"""The lists of attribute names hold together."""

from __future__ import annotations

from guardian.decode import conventions
from guardian.events import Outcome

LISTS = {
    name: value for name, value in vars(conventions).items() if isinstance(value, tuple) and name.isupper()
}
RECORD = {
    name: value
    for name, value in LISTS.items()
    if not name.startswith("RESOURCE_") and all(isinstance(each, str) for each in value)
}


def test_an_attribute_of_a_record_serves_one_purpose() -> None:
    names = [each for value in RECORD.values() for each in value]
    assert len(names) == len(set(names))
    assert all(name == name.strip().lower() for name in names if name != "tamv.layer")


def test_names_in_force_come_before_the_ones_they_replaced() -> None:
    for new, old in (
        ("client.address", "http.client_ip"),
        ("network.peer.address", "net.peer.ip"),
        ("server.address", "net.peer.name"),
        ("service.peer.name", "peer.service"),
        ("http.request.method", "http.method"),
        ("http.response.status_code", "http.status_code"),
        ("user.id", "enduser.id"),
    ):
        (where,) = [value for value in RECORD.values() if new in value or (new, old) == ("", "")]
        together = where + conventions.PEER if where is conventions.ADDRESS else where
        assert together.index(new) < together.index(old)


def test_words_are_lower_case_and_mean_what_exists() -> None:
    for words in (conventions.EVENT_OUTCOMES, conventions.RPC_OUTCOMES):
        assert set(words.values()) <= set(Outcome)
        assert all(word == word.lower() for word in words)
    assert set(conventions.SEVERITY_OF_TEXT.values()) <= set(range(1, 25))
