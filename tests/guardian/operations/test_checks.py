"""The checklist: which lines there are, what fails them, and how they are shown."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from rich.console import Console

from guardian import texts
from guardian.operations import proofs
from guardian.operations.checks import Check, checklist, print_checklist

FREE = "[journal]\nmax_bytes = 1048576\n[server]\nport = 0\nxr_port = 0\n"


@pytest.fixture(autouse=True)
def without_compiling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading the kernels is tested once, beside the other proofs."""
    monkeypatch.setattr(proofs, "kernels", lambda: "-")


def checks_of(config: str, folder: Path, language: texts.Language = "en") -> dict[str, Check]:
    file = folder / "guardian.toml"
    file.write_text(config)
    return {each.name: each for each in checklist(file, folder / "data", language=language)}


def failing(config: str, folder: Path) -> dict[str, str]:
    return {name: each.detail for name, each in checks_of(config, folder).items() if not each.ok}


def test_all_is_well(tmp_path: Path):
    found = checks_of(FREE, tmp_path)
    assert {name: each.detail for name, each in found.items() if not each.ok} == {}
    assert all(each.detail for each in found.values())
    assert not any(each.todo for each in found.values())
    assert [path.name for path in tmp_path.iterdir()] == ["guardian.toml"], "checking leaves nothing behind"


def test_the_embedded_default_can_be_checked(tmp_path: Path):
    assert {each.name for each in checklist(None, tmp_path, language="es-MX")} >= {
        *("config", "binding", "folder", "space", "database", "keys", "port:port", "port:xr_port"),
        *("clock", "files", "kernels", "languages", "page"),
    }


def test_what_is_wrong_is_found_each_on_its_line(tmp_path: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        found = failing(
            f"[server]\nport = {port}\nxr_port = 0\n[journal]\nmax_bytes = 1048576\n"
            "[telemetry]\nendpoint = 'http://127.0.0.1:9'\n"
            "[[sinks]]\nname='a'\ntype='http'\nurl='http://127.0.0.1:9/x'\n"
            "[[sinks]]\nname='b'\ntype='file'\npath='/proc/x/y.jsonl'\n"
            "[[sinks]]\nname='c'\ntype='http'\nurl='http://127.0.0.1:9/x'\ntoken_env='NOT_THERE_AT_ALL'\n",
            tmp_path,
        )
    assert set(found) == {"port:port", "telemetry", "sink:a", "sink:b", "sink:c"}
    assert "NOT_THERE_AT_ALL" in found["sink:c"]


def test_a_configuration_that_cannot_be_used_is_the_only_line(tmp_path: Path):
    found = failing("[engine]\nx = 1\nhold_s = -1", tmp_path)
    assert set(found) == {"config"}
    assert "engine.x" in found["config"]
    assert "engine.hold_s" in found["config"]
    [line] = checklist(tmp_path / "nowhere.toml", tmp_path, language="en")
    assert (line.name, line.ok) == ("config", False)


def test_an_address_for_others_and_a_port_for_two(tmp_path: Path):
    assert set(failing(FREE + "host = '0.0.0.0'", tmp_path)) == {"binding"}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    found = failing(
        f"[journal]\nmax_bytes = 1048576\n[server]\nport = {port}\nxr_port = 0\notlp_port = {port}", tmp_path
    )
    assert found == {
        "port:port": f"server.port and server.otlp_port are both {port}",
        "port:otlp_port": f"server.otlp_port and server.port are both {port}",
    }


def test_a_failure_nobody_foresaw_is_a_line_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def broken() -> str:
        raise ImportError("no numba")

    monkeypatch.setattr(proofs, "kernels", broken)
    assert failing(FREE, tmp_path) == {"kernels": "ImportError: no numba"}


@pytest.mark.parametrize("language", texts.LANGUAGES)
def test_each_line_has_its_text_and_what_to_do(tmp_path: Path, language: texts.Language):
    found = checks_of(
        FREE + "[telemetry]\nendpoint='x'\n[[sinks]]\nname='a'\ntype='http'\nurl='http://127.0.0.1:9'\n"
        "[sigma.rules]\n'a.yml' = 'title: nothing else'",
        tmp_path,
        language,
    )
    known = texts.catalogue("check", language)
    used = {name.partition(":")[0] for name in found}
    assert set(known) == used | {f"{key}_todo" for key in used}
    assert found["sink:a"].todo == known["sink_todo"]
    assert found["sink:a"].to_json() == {
        "name": "sink:a",
        "ok": False,
        "detail": found["sink:a"].detail,
        "todo": known["sink_todo"],
    }


@pytest.mark.parametrize("language", texts.LANGUAGES)
def test_for_people(language: texts.Language, capsys: pytest.CaptureFixture[str]):
    checks = [
        Check("clock", ok=True, detail="[bold]now[/bold]"),
        Check("sink:siem", ok=False, detail="refused", todo="look there"),
    ]
    print_checklist(checks, Console(width=120), language)
    shown = capsys.readouterr().out
    assert "✓" in shown
    assert "✗" in shown
    assert texts.text("check.clock", language) in shown
    assert "[bold]now[/bold]" in shown, "what was found is shown as it is"
    assert "siem" in shown
    assert "look there" in shown
