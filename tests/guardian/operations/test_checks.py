"""The checklist: each line fails when what it claims is not so."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from rich.console import Console

from guardian.operations.checks import checklist, print_checklist


def failing(config: str, folder: Path) -> dict[str, str]:
    file = folder / "guardian.toml"
    file.write_text(config)
    return {each.name: each.detail for each in checklist(file, folder / "data", language="en") if not each.ok}


def test_all_is_well(tmp_path: Path) -> None:
    assert failing("[server]\nport = 0\nxr_port = 0", tmp_path) == {}
    assert not (tmp_path / "data").exists(), "checking makes nothing"


def test_what_is_wrong_is_found(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        found = failing(
            f"[server]\nport = {port}\nxr_port = 0\n"
            "[[sinks]]\nname='a'\ntype='http'\nurl='http://127.0.0.1:9/x'\n"
            "[[sinks]]\nname='b'\ntype='file'\npath='/proc/x/y.jsonl'\n",
            tmp_path,
        )
    assert set(found) == {"port:port", "sink:a", "sink:b"}
    assert set(failing("[server]\nhost = '0.0.0.0'\nport = 0\nxr_port = 0", tmp_path)) == {"binding"}
    assert set(failing("[engine]\nx = 1\ny = 2", tmp_path)) == {"config"}


def test_a_key_that_others_can_read(tmp_path: Path) -> None:
    from exporters.msr.note import Signer

    (tmp_path / "data").mkdir()
    key = tmp_path / "data" / "msr.key"
    Signer.load("o", key, create=True)
    key.chmod(0o644)
    assert "expected mode 600" in failing("[server]\nport = 0\nxr_port = 0", tmp_path)["keys"]


@pytest.mark.parametrize("language", ["es-MX", "en"])
def test_for_people(tmp_path: Path, language: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "g.toml").write_text("[server]\nhost = '0.0.0.0'\nport = 0\nxr_port = 0")
    checks = checklist(tmp_path / "g.toml", tmp_path, language="en")
    print_checklist(checks, Console(width=200), language)  # type: ignore[arg-type]
    shown = capsys.readouterr().out
    assert "✗" in shown
    assert "127.0.0.1" in shown
