"""guardian replay and backtest, as commands, on public data where it is at hand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from guardian.config import Config
from guardian.replay import replay, tables
from guardian.texts import Language

LINES = b"".join(
    b'{"timestamp":"2023-11-14T22:%02d:00Z","action":"login","user_id":"ana","status":"failed"}\n' % minute
    for minute in range(6)
)


def guardian(*arguments: str) -> tuple[int, str, str]:
    out = subprocess.run(
        [sys.executable, "-m", "guardian", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return out.returncode, out.stdout, out.stderr


def test_replay_writes_what_it_found(tmp_path: Path) -> None:
    file = tmp_path / "e.ndjson"
    file.write_bytes(LINES + b"broken\n" + LINES)
    code, out, err = guardian("replay", str(file), "--map", "tamv", "--out", str(tmp_path / "out"), "--json")
    assert (code, err) == (0, "")
    summary = json.loads(out)
    assert summary["events"] == 12
    assert summary["rejected"] == {"not_json": 1}
    assert summary["alerts"]["high"] == 1
    assert summary["top"]["actor"][0]["entity"] == "ana"
    scores = pq.read_table(tmp_path / "out" / "scores.parquet")
    assert scores.num_rows == 12
    alerts = pq.read_table(tmp_path / "out" / "alerts.parquet")
    assert alerts.num_rows == sum(summary["alerts"].values())
    (reject,) = (tmp_path / "out" / "rejects.ndjson").read_text().splitlines()
    assert json.loads(reject)["line"] == 7


def test_replay_for_people(tmp_path: Path) -> None:
    file = tmp_path / "e.ndjson"
    file.write_bytes(LINES)
    summary = replay(
        [file], map_name="tamv", form=None, out=None, config=Config(), progress=False, language="es-MX"
    )
    counts, top = tables(summary, "es-MX")
    assert counts.row_count >= 9
    assert top.row_count == 1


def shown(summary: dict[str, Any], language: Language) -> str:
    console = Console(width=200)
    with console.capture() as captured:
        for table in tables(summary, language):
            console.print(table)
    return captured.get()


@pytest.mark.parametrize(
    ("language", "told"),
    [("es-MX", "regla 59.9 (login; sin ello, ninguno)"), ("en", "rule 59.9 (login; without it, none)")],
)
def test_the_table_says_what_would_be_without_the_strongest_channel(
    tmp_path: Path, language: Language, told: str
) -> None:
    file = tmp_path / "e.ndjson"
    file.write_bytes(LINES)
    summary = replay(
        [file], map_name="tamv", form=None, out=None, config=Config(), progress=False, language=language
    )
    assert told in shown(summary, language)


def test_a_name_is_neither_markup_nor_control_characters_of_a_terminal() -> None:
    hostile = "[bold red]x[/bold red][/] \x1b[2J"
    reason = {"channel": "rule", "contribution": 60.0, "kind": hostile, "event": 0, "without": 0.0}
    entity = {"entity": hostile, "score": 60.0, "level": "high", "reasons": [reason]}
    counts = dict.fromkeys(
        ("events", "late", "wallSeconds", "cpuSeconds", "eventsPerSecond", "peakMemoryBytes"), 0
    )
    summary = {
        **counts,
        "rejected": {},
        "entities": {},
        "evicted": {},
        "alerts": {},
        "top": {"actor": [entity]},
    }
    text = shown(summary, "en")
    assert text.count("[bold red]x[/bold red][/] \\x1b[2J") == 2
    assert "\x1b[2J" not in text


def test_the_reasons_are_those_of_the_highest_alert(tmp_path: Path) -> None:
    file = tmp_path / "e.ndjson"
    day = [(minute, "critical") for minute in range(1)] + [(2000, "high")]
    file.write_text(
        "".join(
            f'{{"timestamp":{1_700_000_000_000 + minute * 60_000},"type":"{severity}","severity":"{severity}",'
            '"metadata":{"userId":"ana"}}\n'
            for minute, severity in day
        )
    )
    summary = replay(
        [file], map_name="tamv-sentinel", form=None, out=None, config=Config(), progress=False, language="en"
    )
    assert sum(summary["alerts"].values()) == 2
    (ana,) = summary["top"]["actor"]
    assert sum(reason["contribution"] for reason in ana["reasons"]) == pytest.approx(ana["score"])


def test_replay_shows_what_an_acknowledgement_changes(tmp_path: Path) -> None:
    file, known = tmp_path / "e.ndjson", tmp_path / "known.toml"
    told = [(minute, "critical" if minute == 4 else "info") for minute in range(6)]
    file.write_text(
        "broken\n"
        + "".join(
            f'{{"timestamp":{1_700_000_000_000 + minute * 60_000},"type":"scan","severity":"{severity}",'
            '"metadata":{"userId":"ana"}}\n'
            for minute, severity in told
        )
    )
    table = '[[acknowledged]]\nrole = "actor"\nentity = "ana"\nkind = "scan"\n'

    def summary(toml: str) -> dict[str, Any]:
        known.write_text(toml)
        return replay(
            [file],
            map_name="tamv-sentinel",
            form=None,
            out=tmp_path / "out",
            config=Config(),
            progress=False,
            language="en",
            acknowledgements=known,
        )

    silent = summary(table)
    assert (silent["events"], silent["rejected"]) == (6, {"not_json": 1})
    assert silent["alerts"]["critical"] == 0
    assert len((tmp_path / "out" / "rejects.ndjson").read_text().splitlines()) == 1
    # The critical one comes at 22:17:20.
    assert summary(f"{table}from = 2023-11-14T22:17:21Z\n")["alerts"]["critical"] == 1
    assert summary(f"{table}until = 2023-11-14T22:17:20Z\n")["alerts"]["critical"] == 1
    assert summary(f"{table}from = 2023-11-14T22:17:20Z\n")["alerts"]["critical"] == 0
    assert set(pq.read_table(tmp_path / "out" / "scores.parquet")["event"].to_pylist()) == set(range(6))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["replay", "none.ndjson", "--map", "tamv"], "none.ndjson"),
        (["replay", "{file}", "--map", "nope"], "tamv-sentinel"),
        (["replay", "{file}", "--format", "ndjson"], "--map"),
        (["replay", "{file}", "--map", "tamv", "--out", "/proc/no"], "--out"),
        (["replay", "{file}", "--map", "tamv", "--config", "none.toml"], "none.toml"),
        (["replay", "{file}", "--map", "tamv", "--format", "xml"], "--format"),
        (["replay", "{file}", "--map", "tamv", "--acknowledged", "none.toml"], "none.toml"),
        (["replay", "{file}", "--map", "tamv", "--acknowledged", "{file}"], "expected TOML"),
        (["backtest", "{file}", "--map", "tamv", "--acknowledged", "none.toml"], "none.toml"),
        (["acknowledge", "actor", "ana", "login"], "--reason"),
        (["acknowledge", "actor", "ana", "login", "--reason", "r", "--for", "long"], "--for"),
        (["acknowledge", "actor", "ana", "login", "--reason", "r", "--url", "http://127.0.0.1:1"], "--url"),
        (["acknowledgements", "--url", "http://127.0.0.1:1"], "guardian run"),
        (["acknowledgements", "--limit", "201"], "--limit"),
        (["verify", "/nowhere"], "guardian.db"),
        (["replay"], "FILE"),
        (["fly"], "fly"),
    ],
)
def test_mistakes_are_one_clear_line(tmp_path: Path, arguments: list[str], said: str) -> None:
    file = tmp_path / "e.bin"
    file.write_bytes(LINES)
    code, out, err = guardian(*(part.replace("{file}", str(file)) for part in arguments))
    assert code == 2
    assert said in err
    assert "Traceback" not in err
    assert out == ""


def test_the_windows_attack(shared_data: Path, tmp_path: Path) -> None:
    archive = shared_data / "otrf" / "metasploit_logonpasswords_lsass_memory_dump.zip"
    code, out, _err = guardian("replay", str(archive), "--map", "windows", "--json")
    assert code == 0
    summary: dict[str, Any] = json.loads(out)
    rejected = sum(summary["rejected"].values())
    assert summary["events"] + rejected == 53_698
    assert rejected / 53_698 <= 0.001
    assert "MKT01.pandalab.com" in [each["entity"] for each in summary["top"]["target"][:3]]


@pytest.mark.parametrize("scenario", ["russellmitchell", "shaw"])
def test_the_backtest_beats_its_references(shared_data: Path, scenario: str) -> None:
    file = shared_data / "ait-ads" / f"{scenario}.parquet"
    code, out, _err = guardian(
        "backtest",
        str(file),
        "--map",
        "ait-ads",
        "--by",
        "target",
        "--window",
        "5m",
        "--warmup",
        "24h",
        "--json",
    )
    assert code == 0
    result = json.loads(out)
    assert result["coverage"]["read"] == result["coverage"]["scored"]
    precision = {name: each["averagePrecision"] for name, each in result["metrics"]["scorers"].items()}
    assert precision["guardian"] > max(precision["count"], precision["elastic"])


def test_batches_of_any_size_give_the_same_bits(shared_data: Path) -> None:
    import hashlib

    import pyarrow as pa

    from guardian.decode import read
    from guardian.engine import Engine

    file = shared_data / "ait-ads" / "russellmitchell.parquet"
    whole = pa.Table.from_batches(list(read(file, map="ait-ads"))).slice(0, 4000).combine_chunks()
    (batch,) = whole.unify_dictionaries().to_batches()
    seen = set()
    for size in (1, 7, 1024, 4000):
        engine = Engine(Config())
        digest = hashlib.sha256()
        for start in range(0, 4000, size):
            if start == 1024 * 2 // size * size:
                engine = Engine.restore(engine.snapshot())
            verdict = engine.feed(batch.slice(start, size))
            digest.update(verdict.scores.column("risk").to_numpy().tobytes())
            digest.update(b"".join(verdict.alerts.column("alert_id").to_pylist()))
        digest.update(engine.snapshot())
        seen.add(digest.hexdigest())
    assert len(seen) == 1


def test_motion_files_are_replayed_as_xr(shared_data: Path) -> None:
    file = shared_data / "xr" / "beatsaber_sample1.parquet"
    code, out, _err = guardian("replay", str(file), "--format", "xr", "--json")
    assert code == 0
    assert json.loads(out)["events"] == 126


def test_the_first_run_on_a_machine_says_what_it_waits_for(tmp_path: Path) -> None:
    file = tmp_path / "e.ndjson"
    file.write_bytes(LINES)
    command = [sys.executable, "-m", "guardian", "replay", str(file), "--map", "tamv", "--json"]
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache"), "GUARDIAN_LANG": "en"}
    first = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=900)
    assert first.returncode == 0, first.stderr
    assert first.stderr.startswith("compiling the kernels")
    assert json.loads(first.stdout)["events"] == 6
    second = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, timeout=900
    )
    assert (second.returncode, second.stderr) == (0, "")
