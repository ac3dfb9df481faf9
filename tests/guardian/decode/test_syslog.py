"""Syslog: the examples of the RFCs, what daemons really send, and any bytes; the loops and their twin say the same."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from guardian.decode import decode_body
from guardian.decode.columns import Decoded
from guardian.decode.syslog import (
    FRAMES_TYPE,
    LINES_TYPE,
    SYSLOG_ROUTE,
    TEXT_TYPE,
    decode_syslog,
    typed,
)
from guardian.decode.syslog_frames import FRAMES, TEXT
from guardian.decode.syslog_kernels import FIELDS, parse
from guardian.decode.syslog_logins import PHRASE_BYTES, PHRASE_ENDS, logins
from guardian.errors import BodyError
from guardian.events import check_events
from tests.twins_syslog import message_of

ROOT = Path(__file__).parent.parent.parent.parent
NOW = int(datetime(2024, 10, 12, tzinfo=UTC).timestamp()) * 10**9
COLUMNS = ("source", "kind", "target", "actor", "address", "body")


def frames(*messages: bytes, peer: bytes = b"") -> bytes:
    return (b"@%b " % peer if peer else b"") + b"".join(b"%d %b" % (len(m), m) for m in messages)


def decoded(*messages: bytes, peer: bytes = b"", received_at: int = NOW, timezone: str = "UTC") -> Decoded:
    kind = typed(FRAMES_TYPE, timezone=timezone)
    return decode_syslog(frames(*messages, peer=peer), content_type=kind, received_at=received_at)


def row(message: bytes, **more: Any) -> dict[str, Any]:
    """The event of one message: time as ISO, attrs as an object, empty columns left out."""
    batch = check_events(decoded(message, **more).batch)
    (event,) = batch.to_pylist()
    event["ts"] = event["ts"].isoformat()
    event["attrs"] = json.loads(event["attrs"] or "{}")
    return event


def said(message: bytes, **more: Any) -> dict[str, Any]:
    event = row(message, **more)
    return {name: event[name] for name in COLUMNS if event[name]}


class TestRfc5424:
    def test_example_1(self) -> None:
        event = row(
            b"<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - \xef\xbb\xbf'su root' failed for lonvick "
            b"on /dev/pts/8"
        )
        assert event["ts"] == "2003-10-11T22:14:15.003000+00:00"
        assert event["target"] == "mymachine.example.com"
        assert event["source"] == "su"
        assert event["kind"] == "ID47"
        assert event["body"] == "'su root' failed for lonvick on /dev/pts/8"
        assert event["severity"] == pytest.approx(5 / 7)
        assert event["attrs"] == {"facility": "auth"}

    def test_example_2_has_a_zone_and_no_msgid(self) -> None:
        event = row(
            b"<165>1 2003-08-24T05:14:15.000003-07:00 192.0.2.1 myproc 8710 - - %% It's time to make the do-nuts."
        )
        assert event["ts"] == "2003-08-24T12:14:15.000003+00:00"
        assert event["attrs"] == {"facility": "local4", "proc_id": "8710"}
        assert event["kind"] == ""
        assert event["body"].startswith("%% It's")

    def test_example_3_and_4_structured_data(self) -> None:
        head = b"<165>1 2003-10-11T22:14:15.003Z mymachine.example.com evntslog - ID47 "
        data = b'[exampleSDID@32473 iut="3" eventSource="Application" eventID="1011"][examplePriority@32473 class="high"]'
        both = row(head + data + b" An application event")
        assert both["attrs"]["structured_data"] == {
            "exampleSDID@32473": {"iut": "3", "eventSource": "Application", "eventID": "1011"},
            "examplePriority@32473": {"class": "high"},
        }
        assert both["body"] == "An application event"
        assert row(head + data)["body"] is None

    def test_escapes_and_repeats_in_structured_data(self) -> None:
        event = row(rb'<13>1 - - - - - [a b="\"\\\]\n" b="2" b="3" c="]"][d] m')
        assert event["attrs"]["structured_data"] == {"a": {"b": ['"\\]\\n', "2", "3"], "c": "]"}, "d": {}}

    def test_all_that_may_be_missing(self) -> None:
        event = row(b"<0>1 - - - - - -")
        assert event["ts"] == datetime.fromtimestamp(NOW // 10**9, UTC).isoformat()
        assert event["severity"] == 1.0
        assert not any(event[name] for name in COLUMNS)

    @pytest.mark.parametrize(
        "broken",
        [
            b"1 2003-10-11T22:14:15.003Z host",
            b"1 2003-13-11T22:14:15Z h a p m - text",
            b"1 2003-10-11 22:14:15Z h a p m - text",
            b"1 2003-10-11T22:14:15Z  a p m - text",
            b"01 2003-10-11T22:14:15Z h a p m - text",
            b"1 - " + b"h" * 256 + b" a p m - text",
        ],
    )
    def test_a_broken_header_is_all_message(self, broken: bytes) -> None:
        assert said(b"<13>" + broken) == {"body": broken.decode()}

    @pytest.mark.parametrize(
        "data", [b'[a b="c" text', b"[a b=c] text", b"[] text", b"text", b'[a b="c"]text']
    )
    def test_broken_structured_data_is_message(self, data: bytes) -> None:
        assert said(b"<13>1 - h a p m " + data) == {
            "target": "h",
            "source": "a",
            "kind": "m",
            "body": data.decode(),
        }


class TestRfc3164:
    def test_example_1(self) -> None:
        event = row(b"<34>Oct 11 22:14:15 mymachine su: 'su root' failed for lonvick on /dev/pts/8")
        assert event["ts"] == "2024-10-11T22:14:15+00:00"
        assert (event["target"], event["source"], event["kind"]) == ("mymachine", "su", "")
        assert event["body"] == "'su root' failed for lonvick on /dev/pts/8"

    def test_no_header_at_all(self) -> None:
        assert said(b"Use the BFG!", peer=b"10.1.2.3") == {"target": "10.1.2.3", "body": "Use the BFG!"}

    @pytest.mark.parametrize(
        ("message", "expected"),
        [
            (b"<13>Feb  5 17:32:18 10.0.0.99 Use the BFG!", ("10.0.0.99", "", "Use the BFG!")),
            (b"<13>Feb 5 17:32:18 h app[12]: x", ("h", "app", "x")),
            (b"<13>Feb  5 17:32:18 app[12]: x", ("", "app", "x")),
            (b"<13>Feb  5 17:32:18 app: x", ("", "app", "x")),
            (b"<13>2024-02-05T17:32:18.123456-06:00 h postfix/smtpd[9]: x", ("h", "postfix/smtpd", "x")),
            (b"<189>*Feb  5 2024 17:32:18.123: %SYS-5-CONFIG_I: x", ("", "%SYS-5-CONFIG_I", "x")),
            (b"<13>app[12]: x", ("", "app", "x")),
            (b"<13>app[12] x", ("", "app", "x")),
            (b"<13>http://x y", ("", "", "http://x y")),
            (b"<13>Feb  5 17:32:18", ("", "", "Feb  5 17:32:18")),
            (b"<13>Feb 30 17:32:18 h x", ("", "", "Feb 30 17:32:18 h x")),
            (b"<192>app: x", ("", "", "<192>app: x")),
            (b"<>app: x", ("", "", "<>app: x")),
            (b"<13", ("", "", "<13")),
        ],
    )
    def test_as_it_is_really_sent(self, message: bytes, expected: tuple[str, str, str]) -> None:
        event = row(message)
        assert (event["target"], event["source"], event["body"] or "") == expected

    @pytest.mark.parametrize(
        ("received", "stamp", "year"),
        [
            (datetime(2024, 1, 1, 0, 5, tzinfo=UTC), b"Dec 31 23:59:00", 2023),
            (datetime(2023, 12, 31, 23, 59, tzinfo=UTC), b"Jan  1 00:01:00", 2024),
            (datetime(2025, 3, 1, tzinfo=UTC), b"Feb 29 10:00:00", 2024),
            (datetime(2024, 6, 30, tzinfo=UTC), b"Jun 29 10:00:00", 2024),
        ],
    )
    def test_the_year_is_the_nearest_one(self, received: datetime, stamp: bytes, year: int) -> None:
        event = row(b"<13>" + stamp + b" h x", received_at=int(received.timestamp()) * 10**9)
        assert event["ts"].startswith(str(year))

    def test_times_without_a_zone_are_in_the_stated_one(self) -> None:
        for stamp, written in (
            (b"Jul  1 12:00:00", (2024, 7, 1, 12)),
            (b"2024-01-15T23:59:59", (2024, 1, 15, 23, 59, 59)),
        ):
            for zone in ("America/Tijuana", "Asia/Kathmandu"):
                event = row(b"<13>" + stamp + b" h x", timezone=zone)
                assert event["ts"] == datetime(*written, tzinfo=ZoneInfo(zone)).astimezone(UTC).isoformat()

    def test_a_time_that_cannot_be_is_kept_beside(self) -> None:
        for stamp in (b"1989-12-31T23:59:59Z", b"2024-10-14T00:00:00Z", b"9999-01-01T00:00:00Z"):
            event = row(b"<13>1 " + stamp + b" h a - - - x")
            assert event["ts"] == "2024-10-12T00:00:00+00:00"
            assert event["attrs"]["timestamp"] == stamp.decode()


LOGINS = [
    (b"Failed password for invalid user bob from 192.0.2.4 port 22 ssh2", "bob", "192.0.2.4", 2),
    (b"Failed password for root from 2001:db8::7 port 22 ssh2", "root", "2001:db8::7", 2),
    (b"Failed password for x from 198.51.100.1 from 192.0.2.4 port 22 ssh2", "x from 198.51.100.1", "192.0.2.4", 2),
    (b"Invalid user  from 192.0.2.4 port 22", "", "192.0.2.4", 2),
    (b"Accepted publickey for alice from 192.0.2.4 port 22 ssh2: ED25519", "alice", "192.0.2.4", 1),
    (b"pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=192.0.2.4  user=root",
     "root", "192.0.2.4", 2),
    (b"pam_unix(sudo:session): session opened for user root(uid=0) by alice(uid=1000)", "root", "", 1),
    (b"Connection closed by authenticating user root 192.0.2.4 port 22 [preauth]", "root", "192.0.2.4", 0),
    (b"Connection from 192.0.2.4:51000 on 192.0.2.9 port 22", "", "192.0.2.4", 0),
    (b"Received disconnect from 192.0.2.4 port 22:11: Bye from 198.51.100.1", "", "192.0.2.4", 0),
    (b"pam_unix(sshd:auth): check pass; user unknown", "", "", 0),
    (b"Server listening on :: port 22.", "", "", 0),
]  # fmt: skip


@pytest.mark.parametrize(("message", "actor", "address", "outcome"), LOGINS)
def test_logins(message: bytes, actor: str, address: str, outcome: int) -> None:
    for head in (b"<86>Oct 11 22:14:15 h sshd[1]: ", b"<38>1 - h x - - - ", b"Oct 11 22:14:15 h sshd[1]: "):
        event = row(head + message)
        assert (event["actor"], event["address"], event["outcome"]) == (actor, address, outcome)
    other = row(b"<14>Oct 11 22:14:15 h shop: " + message)
    assert (other["actor"], other["address"], other["outcome"]) == ("", "", 0)


def test_lines_of_files_and_plain_lines() -> None:
    lines = b"Oct 11 22:14:15 h cron[3]: one\r\n\n2024-10-11T22:14:15+00:00 h2 sshd: two\nno time\n"
    kind = typed(LINES_TYPE, host="me", service="files")
    batch = decode_syslog(lines, content_type=kind, received_at=NOW).batch
    assert batch.column("target").to_pylist() == ["h", "h2", "me"]
    assert batch.column("source").to_pylist() == ["cron", "sshd", "files"]
    assert batch.column("body").to_pylist() == ["one", "two", "no time"]
    assert np.isnan(batch.column("severity").to_pylist()).all()

    text = b"2024-10-11 22:14:15,250 ERROR disk full\n[x] no time\n2024-10-11T22:14:15Z: late\n"
    kind = typed(TEXT_TYPE, service="shop", host="web1", timezone="America/Bogota")
    batch = decode_syslog(text, content_type=kind, received_at=NOW).batch
    assert batch.column("body").to_pylist() == ["ERROR disk full", "[x] no time", "late"]
    assert set(batch.column("source").to_pylist()) == {"shop"}
    assert set(batch.column("target").to_pylist()) == {"web1"}
    assert batch.column("ts").to_pylist()[0] == datetime(2024, 10, 12, 3, 14, 15, 250_000, tzinfo=UTC)


def test_peers_are_told_apart() -> None:
    body = frames(b"<13>x", b"<13>Oct 11 22:14:15 h y: y", peer=b"10.0.0.1") + frames(
        b"<13>z", peer=b"fe80::1%eth0"
    )
    batch = decode_syslog(body, content_type=FRAMES_TYPE, received_at=NOW).batch
    assert batch.column("target").to_pylist() == ["10.0.0.1", "h", "fe80::1%eth0"]
    peers = [json.loads(attrs)["network.peer.address"] for attrs in batch.column("attrs").to_pylist()]
    assert peers == ["10.0.0.1", "10.0.0.1", "fe80::1%eth0"]


def test_what_is_empty_is_rejected_and_what_is_not_utf8_is_repaired() -> None:
    result = decoded(
        b"", b"<13>1 - h a - - - caf\xe9 \xff\xfe", b"\r\n\0", b"<13>caf\xc3", b"<13>caf\xc3\xa9"
    )
    assert [(line.line, line.reason) for line in result.rejected] == [(1, "empty"), (3, "empty")]
    assert result.repaired == 2
    assert result.batch.column("body").to_pylist() == ["caf\ufffd \ufffd\ufffd", "caf\ufffd", "café"]
    assert result.batch.column("target").to_pylist() == ["h", "", ""]


def test_quotes_in_identifiers_stay_json() -> None:
    event = row(b'<13>1 - - - a"b\\c - - x', peer=b'p"')
    assert event["attrs"] == {"facility": "user", "proc_id": 'a"b\\c', "network.peer.address": 'p"'}


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"5 abc", FRAMES_TYPE, 400),
        (b"x", FRAMES_TYPE, 400),
        (b"3abc", FRAMES_TYPE, 400),
        (b"9999999999 a", FRAMES_TYPE, 400),
        (b"@", FRAMES_TYPE, 400),
        (b"@ 1 a", FRAMES_TYPE, 400),
        (b"@" + b"1" * 99 + b" 1 a", FRAMES_TYPE, 400),
        (b"1 a", "application/json", 415),
        (b"1 a", "", 415),
        (b"1 a", typed(FRAMES_TYPE, timezone="No/Where"), 400),
        (b"1 a" * 1_000_001, FRAMES_TYPE, 413),
    ],
)
def test_a_body_that_is_none_is_refused(body: bytes, kind: str, status: int) -> None:
    with pytest.raises(BodyError) as caught:
        decode_syslog(body, content_type=kind, received_at=NOW)
    assert caught.value.status == status


def test_through_the_one_door_of_bodies() -> None:
    result = decode_body(
        b"9 <13>a: hi",
        content_type=FRAMES_TYPE,
        encoding="",
        path=SYSLOG_ROUTE,
        map_name="",
        received_at=NOW,
        max_decoded_bytes=2**20,
    )
    assert result.batch.column("body").to_pylist() == ["hi"]
    empty = decode_syslog(b"", content_type=FRAMES_TYPE, received_at=NOW)
    assert check_events(empty.batch).num_rows == 0


# -- the loops and their twin -----------------------------------------------------------------------------------------

NAMES = ("host", "app", "proc", "msgid", "data", "time", "actor", "address", "peer", "message")
PIECES = [
    *(
        b"<13>",
        b"<34>",
        b"<191>",
        b"<999>",
        b"1 ",
        b"- ",
        b"-",
        b" ",
        b"  ",
        b":",
        b"[",
        b"]",
        b'"',
        b"\\",
        b"=",
    ),
    *(
        b"2024-10-11T22:14:15",
        b"2024-02-30T22:14:15Z ",
        b".123456",
        b"Z ",
        b"+05:30 ",
        b"-0600 ",
        b"-06",
        b"*",
    ),
    *(
        b"2024-10-11 22:14:15,5 ",
        b"Oct 11 22:14:15 ",
        b"Oct  1 22:14:15.5: ",
        b"Feb 29 2023 10:00:60 ",
        b"Feb 29 1:",
    ),
    *(
        b"9999-01-01T00:00:00Z ",
        b"1969-12-31T23:00:00-05:00 ",
        b"host ",
        b"app",
        b"[12]: ",
        b"sshd[7]: ",
        b"su: ",
    ),
    *(
        b'[a@1 b="c"]',
        b'[a b="\\"" c="]"] ',
        b"[x] ",
        b"\xef\xbb\xbf",
        b"h\xc3\xa9",
        b"\xff",
        b"\x00",
        b"\n",
        b"\t",
    ),
    *(
        b"Failed password for ",
        b"invalid user ",
        b"Invalid user ",
        b"Accepted x for ",
        b" from ",
        b"1.2.3.4",
        b"::1",
    ),
    *(
        b" port 22",
        b"rhost=",
        b" user=",
        b"for user ",
        b"by user ",
        b"root",
        b"(uid=0)",
        b"authentication failure",
    ),
    *(
        b"1.2.3.4:22",
        b"1.2.3.",
        b"2001:db8::",
        b"a.b.c.d.",
        b"session opened for user ",
        b"authenticating user ",
    ),
]
MESSAGES = st.one_of(st.lists(st.sampled_from(PIECES), max_size=14).map(b"".join), st.binary(max_size=60))
TIMES = st.sampled_from([NOW, 0, 1_709_200_000 * 10**9, 1_735_689_599 * 10**9])


def loops(message: bytes, received: int, mode: int, *, interpreted: bool = False) -> dict[str, Any]:
    data = np.frombuffer(message, np.uint8)
    starts, stops = np.zeros((FIELDS, 1), np.int32), np.zeros((FIELDS, 1), np.int32)
    ts, priority = np.zeros(1, np.int64), np.zeros(1, np.int64)
    local, outcome = np.zeros(1, np.int8), np.zeros(1, np.int8)
    year = datetime.fromtimestamp(received // 10**9, UTC).year
    options = np.array([mode, received, year], np.int64)
    begin, end = np.zeros(1, np.int32), np.array([len(message)], np.int32)
    first, second = (parse.py_func, logins.py_func) if interpreted else (parse, logins)
    first(data, begin, end, options, starts, stops, ts, priority, local)
    second(data, priority, PHRASE_BYTES, PHRASE_ENDS, starts, stops, outcome)
    assert (starts >= 0).all()
    assert (stops <= len(message)).all()
    out: dict[str, Any] = {
        name: message[starts[i, 0] : stops[i, 0]] for i, name in enumerate(NAMES) if name != "peer"
    }
    return out | {
        "ts": int(ts[0]),
        "priority": int(priority[0]),
        "local": bool(local[0]),
        "outcome": int(outcome[0]),
    }


@settings(max_examples=1500)
@given(message=MESSAGES, received=TIMES, text=st.booleans())
@example(message=b"<38>1 - h x - - - Failed for  from ::1", received=NOW, text=False)
@example(message=b"<13>Oct 11 22:14:15 h:", received=NOW, text=False)
def test_loops_and_twin(message: bytes, received: int, text: bool) -> None:
    message = message.rstrip(b"\r\n\0")
    assert loops(message, received, TEXT if text else FRAMES) == message_of(message, received, text=text)


@settings(max_examples=300)
@given(
    messages=st.lists(MESSAGES, max_size=6),
    mode=st.sampled_from([FRAMES_TYPE, LINES_TYPE, TEXT_TYPE]),
    received=TIMES,
)
def test_any_messages_become_events_or_rejects(messages: list[bytes], mode: str, received: int) -> None:
    body = frames(*messages) if mode == FRAMES_TYPE else b"\n".join(messages)
    result = decode_syslog(body, content_type=typed(mode, timezone="America/Bogota"), received_at=received)
    result.batch.validate(full=True)
    check_events(result.batch)
    if mode == FRAMES_TYPE:
        assert len(result.batch) + sum(result.reasons.values()) == len(messages)
    for attrs in result.batch.column("attrs").to_pylist():
        assert attrs is None or isinstance(json.loads(attrs), dict)


@given(body=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    with contextlib.suppress(BodyError):
        decode_syslog(body, content_type=FRAMES_TYPE, received_at=NOW).batch.validate(full=True)


INTERPRETED = """
import json, sys
sys.path.insert(0, ".")
from tests.guardian.decode.test_syslog import FRAMES, LOGINS, NOW, loops
heads = (b"<86>Oct 11 22:14:15.5 h sshd[1]: ", b"<38>1 2024-10-11T22:14:15+05:30 h x 1 m [a b=\\"c\\"] ", b"")
for message, *_ in LOGINS:
    for head in heads:
        assert loops(head + message, NOW, FRAMES) == loops(head + message, NOW, FRAMES, interpreted=True)
print(len(LOGINS))
"""


def test_loops_as_python_runs_them() -> None:
    """Every index is checked there, and bytes do not wrap around."""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", INTERPRETED],
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stdout.strip() == str(len(LOGINS)), run.stderr
