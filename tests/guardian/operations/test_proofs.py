"""Each proof fails when what it claims is not so."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from exporters.msr.note import Signer
from exporters.pseudonyms import Pseudonyms
from guardian import texts
from guardian.config import Config, Journal, Ledger
from guardian.errors import GuardianError, MachineError, RulesError
from guardian.operations import proofs
from guardian.sigma_settings import Sigma
from guardian.sink_settings import File, Http, Nats, Redis, Relp, Splunk, Syslog

unprivileged = pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")


class TestFolder:
    def test_a_folder_that_is_not_there_yet_is_proved_where_it_would_be(self, tmp_path: Path):
        assert "fsync" in proofs.data_folder(tmp_path / "a" / "b")
        assert list(tmp_path.iterdir()) == []

    def test_a_file_in_its_place(self, tmp_path: Path):
        (tmp_path / "data").write_text("")
        with pytest.raises(OSError, match="data"):
            proofs.data_folder(tmp_path / "data")

    @unprivileged
    def test_a_folder_of_others(self, tmp_path: Path):
        tmp_path.chmod(0o500)
        with pytest.raises(PermissionError):
            proofs.data_folder(tmp_path)

    def test_a_disk_that_does_not_sync(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        def fails(_descriptor: int) -> None:
            raise OSError(5, "input/output error")

        monkeypatch.setattr(os, "fsync", fails)
        with pytest.raises(OSError, match="input/output"):
            proofs.data_folder(tmp_path)
        assert list(tmp_path.iterdir()) == []


class TestSpace:
    def test_the_journal_may_grow_to_its_limit(self, tmp_path: Path):
        assert "MiB" in proofs.free_space(tmp_path / "data", Journal(max_bytes=2**20))
        with pytest.raises(MachineError, match=r"journal\.max_bytes"):
            proofs.free_space(tmp_path, Journal(max_bytes=2**60))

    def test_what_the_journal_holds_is_not_needed_again(self, tmp_path: Path):
        (tmp_path / "journal").mkdir()
        with (tmp_path / "journal" / "1.segment").open("wb") as file:
            file.truncate(2**40)
        assert proofs.free_space(tmp_path, Journal(max_bytes=2**40))


class TestDatabase:
    def test_it_is_opened_as_the_service_does(self, tmp_path: Path):
        assert "WAL, synchronous FULL" in proofs.database(tmp_path / "data")
        assert list(tmp_path.iterdir()) == []

    def test_the_one_that_is_there_is_a_database(self, tmp_path: Path):
        (tmp_path / "guardian.db").write_bytes(b"no database at all")
        with pytest.raises(MachineError, match="not an SQLite database"):
            proofs.database(tmp_path)


class TestKeys:
    def test_none_yet(self, tmp_path: Path):
        assert proofs.keys(Ledger(), tmp_path) == "-"

    def test_both(self, tmp_path: Path):
        Signer.load("o", tmp_path / "msr.key", create=True)
        Pseudonyms.load(tmp_path / "pseudonyms.key")
        assert proofs.keys(Ledger(), tmp_path) == "msr.key, pseudonyms.key"
        for name in ("msr.key", "pseudonyms.key"):
            (tmp_path / name).chmod(0o640)
            with pytest.raises(MachineError, match=f"{name}: expected mode 600, got 640"):
                proofs.keys(Ledger(), tmp_path)
            (tmp_path / name).chmod(0o600)

    def test_one_that_is_named_must_be_there(self, tmp_path: Path):
        with pytest.raises(MachineError, match="Ed25519"):
            proofs.keys(Ledger(key_file=str(tmp_path / "nowhere.pem")), tmp_path)

    @pytest.mark.parametrize(
        "content", [b"", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
    )
    def test_one_that_does_not_load(self, tmp_path: Path, content: bytes):
        (tmp_path / "msr.key").write_bytes(content)
        with pytest.raises(MachineError, match="Ed25519"):
            proofs.keys(Ledger(), tmp_path)


def test_a_port_of_the_other_family():
    assert proofs.port("::1", "port", {"port": 0}) == "::1:0"


class TestClock:
    def test_now(self, tmp_path: Path):
        (tmp_path / "file").write_text("")
        assert proofs.clock(tmp_path / "nowhere").startswith("2")
        assert proofs.clock(tmp_path).endswith("Z")

    @pytest.mark.parametrize("now", [10.0, 1e10])
    def test_a_time_that_no_event_can_have(self, tmp_path: Path, now: float, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(time, "time", lambda: now)
        with pytest.raises(MachineError, match="expected a time from 2023 to 2262"):
            proofs.clock(tmp_path)

    def test_data_from_the_future(self, tmp_path: Path):
        (tmp_path / "journal").mkdir()
        file = tmp_path / "journal" / "1.segment"
        file.write_text("")
        later = time.time() + 7200
        os.utime(file, (later, later))
        with pytest.raises(MachineError, match="was written to 7"):
            proofs.clock(tmp_path)


def test_open_files(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(proofs.resource, "getrlimit", lambda _which: (256, 4096))
    with pytest.raises(MachineError, match="at least 1024, got 256"):
        proofs.open_files()


RULE = """
title: A shell
id: 0b5d0a5e-7c1f-4f0a-9d4e-2f6a1f0c9b11
logsource: {product: windows}
detection:
  found: {Image|endswith: powershell.exe}
  condition: found
level: high
"""


def test_detection_rules_load_or_the_checklist_says_which_do_not() -> None:
    assert proofs.detection_rules(Config(sigma=Sigma(rules={"a.yml": RULE}))) == "1"
    with pytest.raises(RulesError, match=r"b\.yml"):
        proofs.detection_rules(Config(sigma=Sigma(rules={"b.yml": RULE.replace("found: {", "other: {")})))


def test_kernels_compile_here():
    assert proofs.kernels()[0].isdigit()


def test_a_text_that_one_language_lacks(monkeypatch: pytest.MonkeyPatch):
    assert "es-MX, en" in proofs.languages()
    whole = texts.catalogue

    def lacking(area: str, language: texts.Language) -> dict[str, str]:
        known = dict(whole(area, language))
        if (area, language) == ("levels", "es-MX"):
            del known["high"]
        return known

    monkeypatch.setattr(texts, "catalogue", lacking)
    with pytest.raises(MachineError, match=r"levels\.es-MX: no text for high"):
        proofs.languages()


def test_an_installation_without_its_page(monkeypatch: pytest.MonkeyPatch):
    assert int(proofs.page()) > 0
    monkeypatch.setattr(proofs, "console_folder", lambda: None)
    with pytest.raises(MachineError, match=r"console/index\.html"):
        proofs.page()


class TestFileSink:
    def test_new_or_there_already(self, tmp_path: Path):
        path = tmp_path / "alerts.jsonl"
        settings = File(name="a", path=str(path))
        assert proofs.sink(settings) == str(path)
        assert not path.exists()
        path.write_text(json.dumps({"id": 1}))
        assert proofs.sink(settings) == str(path)
        assert path.read_text() == '{"id": 1}'

    def test_a_folder_in_its_place(self, tmp_path: Path):
        with pytest.raises(IsADirectoryError):
            proofs.sink(File(name="a", path=str(tmp_path)))


class TestConnection:
    def test_somebody_listens(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            place = f"127.0.0.1:{port}"
            for settings in (
                Syslog(name="a", host="127.0.0.1", port=port),
                Relp(name="a", host="127.0.0.1", port=port),
                Redis(name="a", url=f"redis://127.0.0.1:{port}/0"),
                Nats(name="a", url=f"nats://127.0.0.1:{port}"),
            ):
                assert proofs.sink(settings) == place

    def test_a_socket_of_this_machine(self, tmp_path: Path) -> None:
        path = str(tmp_path / "redis.sock")
        settings = Redis(name="a", url=f"unix://{path}")
        with pytest.raises(FileNotFoundError):
            proofs.sink(settings)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path)
            server.listen()
            assert proofs.sink(settings) == path

    def test_nobody_listens(self) -> None:
        with pytest.raises(MachineError, match=r"^127\.0\.0\.1:9: .*refused"):
            proofs.sink(Syslog(name="a", host="127.0.0.1", port=9))

    def test_a_credential_that_is_not_there(self) -> None:
        with pytest.raises(MachineError, match=r"sinks\.a\.token_env"):
            proofs.sink(Splunk(name="a", url="http://127.0.0.1:9", token_env="GUARDIAN_NO_SUCH_TOKEN"))


Serving = Callable[[int], tuple[int, list[str]]]


@pytest.fixture
def receiver() -> Iterator[Serving]:
    """Starts receivers that answer everything with one status; each notes the methods it was asked with."""
    servers: list[tuple[HTTPServer, threading.Thread]] = []

    def serving(status: int) -> tuple[int, list[str]]:
        asked: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_OPTIONS(self) -> None:
                asked.append(f"{self.command} {self.path}")
                self.send_response(status)
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        servers.append((server, thread))
        return server.server_address[1], asked

    yield serving
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


class TestHttp:
    @pytest.mark.parametrize("status", [200, 204, 302, 401, 404, 405, 501])
    def test_any_answer_of_a_receiver_shows_that_it_is_there(self, receiver: Serving, status: int):
        port, asked = receiver(status)
        settings = Http(name="a", url=f"http://127.0.0.1:{port}/services/SECRET?token=SECRET")
        assert proofs.sink(settings) == f"http://127.0.0.1:{port}: HTTP {status}"
        assert asked == ["OPTIONS /services/SECRET"]

    @pytest.mark.parametrize("status", [502, 503, 504])
    def test_a_proxy_with_nothing_behind_it(self, receiver: Serving, status: int):
        port, _ = receiver(status)
        with pytest.raises(MachineError, match=f"HTTP {status}"):
            proofs.answers(f"http://127.0.0.1:{port}")

    def test_something_else_than_https(self, receiver: Serving):
        port, _ = receiver(200)
        with pytest.raises(MachineError, match="SSL"):
            proofs.answers(f"https://127.0.0.1:{port}/SECRET")

    @pytest.mark.parametrize(
        "url",
        ["", "localhost:80", "ftp://example.org/x", "http://", "http:///path", "http://[", "http://a:b/"],
    )
    def test_what_is_no_address(self, url: str):
        with pytest.raises((GuardianError, ValueError)):
            proofs.answers(url)

    def test_nobody_there(self):
        with pytest.raises(MachineError, match=r"^http://127\.0\.0\.1:9: .*refused"):
            proofs.answers("http://user:SECRET@127.0.0.1:9/SECRET")
