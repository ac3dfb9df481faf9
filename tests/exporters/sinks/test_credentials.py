"""Secrets by reference, read anew; certificates that are usable; neither ever told."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporters.sinks import credentials
from guardian.errors import HoldError, MachineError
from guardian.sink_settings import Http, Redis, Sentinel, Webhook

URL = "http://127.0.0.1:9/in"


def test_a_token_is_read_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "token"
    settings = Http(name="siem", url=URL, token_file=str(file))
    for token in ("first", "rotated\n"):
        file.write_text(token)
        assert credentials.token(settings) == token.strip()
    monkeypatch.setenv("SIEM_TOKEN", " from-env ")
    assert credentials.token(Http(name="siem", url=URL, token_env="SIEM_TOKEN")) == "from-env"
    assert credentials.token(Http(name="siem", url=URL)) == ""


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"two words", b"a\r\nX-Evil: 1", "ñ".encode(), b"\xff", None]
)
def test_an_unusable_token_is_never_told(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(HoldError, match="token_file") as caught:
        credentials.token(Http(name="siem", url=URL, token_file=str(file)))
    assert "Evil" not in caught.value.said


def test_several_secrets_one_a_line(tmp_path: Path) -> None:
    file = tmp_path / "secrets"
    settings = Webhook(name="hook", url=URL, secret_file=str(file))
    file.write_text("whsec_b2xk\n\nwhsec_bmV3\n")
    assert credentials.lines(settings, "secret") == ["whsec_b2xk", "whsec_bmV3"]
    file.write_text("\n")
    with pytest.raises(HoldError, match="secret_file: expected at least one"):
        credentials.lines(settings, "secret")
    assert credentials.lines(Webhook(name="hook", url=URL), "secret") == []


def test_what_is_missing_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOT_THERE", raising=False)
    no, yes = str(tmp_path / "no"), tmp_path / "yes"
    yes.write_text("x")
    sentinel = {"url": URL, "rule_id": "dcr-" + "0" * 32, "tenant": "t", "client": "c"}
    for settings, key in (
        (Http(name="s", url=URL, token_env="NOT_THERE"), "token_env"),
        (Http(name="s", url=URL, token_file=no), "token_file"),
        (Redis(name="s", url="redis://h", password_env="NOT_THERE"), "password_env"),
        (Sentinel(name="s", secret_file=no, **sentinel), "secret_file"),
        (Http(name="s", url=URL, ca_file=no), "ca_file"),
        (Http(name="s", url=URL, cert_file=str(yes), key_file=no), "key_file"),
    ):
        with pytest.raises(MachineError, match=rf"sinks\.s\.{key}: there is no"):
            credentials.check_credentials(settings)
    credentials.check_credentials(Http(name="s", url=URL, token_file=str(yes), ca_file=str(yes)))


def test_certificates_that_are_none(tmp_path: Path) -> None:
    odd = tmp_path / "odd.pem"
    odd.write_text("not a certificate")
    with pytest.raises(MachineError, match=r"sinks\.s\.ca_file: cannot be used"):
        credentials.tls(Http(name="s", url=URL, ca_file=str(odd)))
    with pytest.raises(MachineError, match=r"sinks\.s\.cert_file: cannot be used"):
        credentials.tls(Http(name="s", url=URL, cert_file=str(odd), key_file=str(odd)))
