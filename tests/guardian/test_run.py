"""The service as people run it: a real process, real sockets, real clients, real kills."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from exporters.msr.fsck import verify

NOW = time.time()


@dataclass
class Running:
    process: subprocess.Popen[str]
    url: str
    xr: str

    def get(self, path: str, accept: str = "*/*") -> Any:
        request = urllib.request.Request(self.url + path, headers={"Accept": accept})
        with urllib.request.urlopen(request, timeout=10) as answer:
            data = answer.read()
        return json.loads(data) if "json" in answer.headers["Content-Type"] else data.decode()

    def post(self, path: str, body: bytes, content_type: str = "application/x-ndjson", **headers: str) -> Any:
        request = urllib.request.Request(
            self.url + path, data=body, headers={"Content-Type": content_type, **headers}, method="POST"
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())

    def events_scored(self, at_least: int) -> int:
        """Wait until the engine has caught up; the test's own timeout is the limit."""
        for _ in range(200):
            events: int = self.get("/api/v1/guardian")["events"]
            if events >= at_least:
                return events
            time.sleep(0.05)
        raise AssertionError(f"only {events} of {at_least} events were scored")


@contextmanager
def running(folder: Path, *arguments: str, config: str = "") -> Iterator[Running]:
    file = folder.parent / "guardian.toml"
    file.write_text(config)
    command = [
        sys.executable,
        "-m",
        "guardian",
        "run",
        "--data-dir",
        str(folder),
        "--port",
        "0",
        "--xr-port",
        "0",
    ]
    process = subprocess.Popen(
        [*command, "--config", str(file), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        xr = process.stdout.readline()
        http = process.stdout.readline()
        assert xr.startswith("guardian xr gateway on ws://"), process.stderr.read() if process.stderr else ""
        assert http.startswith("guardian listening on http://")
        yield Running(process, http.split(" on ")[1].strip(), xr.split(" on ")[1].strip())
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=30)


def lines(count: int, start: int = 0, **fields: Any) -> bytes:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(NOW - 60))
    return b"\n".join(
        json.dumps(
            {
                "timestamp": stamp,
                "action": f"a{i % 9}",
                "user_id": f"u{i % 13}",
                "ip": f"10.0.0.{i % 7}",
                **fields,
            }
        ).encode()
        for i in range(start, start + count)
    )


def test_first_steps(tmp_path: Path) -> None:
    with running(tmp_path / "data") as service:
        status, answer = service.post("/api/v1/events?map=tamv", lines(5) + b"\n{broken\n")
        assert (status, answer["accepted"]) == (200, 5)
        assert [(each["line"], each["reason"]) for each in answer["rejected"]] == [(6, "not_json")]
        service.events_scored(5)
        failed = lines(5, action="login", user_id="ana", status="failed")
        service.post("/api/v1/events?map=tamv", failed)
        service.events_scored(10)
        alerts = service.get("/api/v1/alerts?limit=200")["items"]
        assert any(a["entity"] == "ana" and a["levelTo"] == "high" for a in alerts)
        assert service.get("/api/v1/guardian")["level"] == "high"
        entity = service.get("/api/v1/entities/actor/ana")
        assert entity["level"] == "high"
        told = service.get("/api/v1/bookpi/entries")["items"]
        assert any(
            "alto" in item["narrative"]["es-MX"] and "ana" not in item["narrative"]["en"] for item in told
        )
        assert "TAMV Guardian" in service.get("/")
        assert service.get("/health/ready")["status"] == "ready"
        proof = service.get("/api/v1/msr/proof/0")
        assert proof.startswith("c2sp.org/tlog-proof@v1\nindex 0\n")
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(30) == 0
    assert verify(tmp_path / "data").ok


def test_decisions_are_kept_registered_told_and_counted(tmp_path: Path) -> None:
    with running(tmp_path / "data") as service:
        status, event = service.post(
            "/api/v1/protocols/execute",
            json.dumps(
                {
                    "protocolId": "fenix",
                    "action": "renew",
                    "layer": "L0",
                    "purpose": "x",
                    "payload": {"override": True},
                }
            ).encode(),
            "application/json",
        )
        assert status == 201
        assert event["event"]["decision"]["severity"] == "critical"
        status, record = service.post(
            "/api/v1/isabella/decisions",
            b'{"prompt":"SECRETO-7","response":"SECRETO-8","decision":"deny","context":{"protocolId":"xr"}}',
            "application/json",
        )
        assert (status, record["outcome"]) == (201, "rejected")
        status, record = service.post(
            "/api/v1/eoct/evaluate",
            b'{"subjectType":"post","signals":{"coercionRisk":1,"harmRisk":1,"privacyRisk":1,"transparencyRisk":1}}',
            "application/json",
        )
        assert (status, record["verdict"], record["score"]) == (201, "rejected", 0.15)
        service.events_scored(3)
        metrics = service.get("/metrics")
        for name in (
            "tamv_protocol_evaluations_total",
            "tamv_guardian_threat_level",
            "tamv_xr_gateway_connections",
            "tamv_eoct_risk_score",
            "tamv_isabella_decisions_total",
        ):
            assert re.search(rf"^{name}(\{{|\s)", metrics, re.MULTILINE), name
        assert 'tamv_guardian_threat_level{id="fenix",scope="protocol"} 4.0' in metrics
        assert 'tamv_eoct_risk_score{subject_type="post"} 0.85' in metrics
        for path in ("eoct/evaluations", "isabella/decisions", "protocols/events", "xr/events", "msr/events"):
            page = service.get(f"/api/v1/{path}?limit=1&offset=0")
            assert page["total"] >= 1
            assert len(page["items"]) == 1
        for path in ("msr/events", "bookpi/entries", "alerts"):
            assert "SECRETO" not in json.dumps(service.get(f"/api/v1/{path}?limit=200")), path
        assert "SECRETO" not in metrics


def test_bad_input_gets_a_clear_answer_and_leaves_the_rest_running(tmp_path: Path) -> None:
    with running(
        tmp_path / "data", config="[server]\nmax_body_bytes = 100000\nmax_decoded_bytes = 200000"
    ) as service:
        import gzip

        for path, body, kind, headers, expected in (
            ("/api/v1/events?map=tamv", b"x" * 100_001, "application/x-ndjson", {}, 413),
            (
                "/api/v1/events?map=tamv",
                gzip.compress(bytes(10**6)),
                "application/x-ndjson",
                {"Content-Encoding": "gzip"},
                413,
            ),
            (
                "/api/v1/events?map=tamv",
                b"not gzip",
                "application/x-ndjson",
                {"Content-Encoding": "gzip"},
                400,
            ),
            ("/api/v1/events?map=tamv", b"{}", "image/png", {}, 415),
            ("/api/v1/events?map=../../etc/passwd", b"{}", "application/x-ndjson", {}, 400),
            ("/v1/logs", b"{", "application/json", {}, 400),
            ("/v1/traces", b'{"resourceSpans": 1}', "application/json", {}, 400),
            ("/api/v1/eoct/evaluate", b'{"signals":{"harmRisk":"much"}}', "application/json", {}, 422),
            ("/api/v1/nothing", b"{}", "application/json", {}, 404),
        ):
            status, answer = service.post(path, body, kind, **headers)
            assert status == expected, (path, answer)
            assert answer, path
        old = b'{"timestamp": "1970-01-01T00:00:10Z", "action": "a", "user_id": "u"}'
        status, answer = service.post("/api/v1/events?map=tamv", old)
        assert (status, answer["accepted"]) == (200, 0)
        assert answer["rejected"][0]["reason"] == "time_out_of_range"
        service.post("/api/v1/events?map=tamv", lines(3))
        assert service.events_scored(3) == 3
        assert 'tamv_guardian_rejected_total{reason="too_large"}' in service.get("/metrics")


def test_a_killed_service_scores_each_acknowledged_event_exactly_once(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    config = "[journal]\nsnapshot_interval_s = 0.2\nsegment_bytes = 20000"
    rng = random.Random(1)
    acknowledged = 0
    alert_ids: set[str] = set()
    for _round in range(4):
        with running(folder, config=config) as service:
            assert service.events_scored(acknowledged) == acknowledged
            for _ in range(rng.randint(3, 12)):
                count = rng.randint(1, 200)
                body = lines(count, acknowledged, status="failed", action="login")
                status, answer = service.post("/api/v1/events?map=tamv", body)
                assert (status, answer["accepted"]) == (200, count)
                acknowledged += count
                time.sleep(rng.random() * 0.1)
            items = service.get("/api/v1/alerts?limit=200")["items"]
            ids = [item["id"] for item in items]
            assert len(ids) == len(set(ids))
            assert alert_ids <= set(ids), "what was raised before the kill is still there"
            alert_ids = set(ids)
            service.process.kill()
            service.process.wait()
        found = verify(folder)
        assert found.ok, found.damage
    with running(folder, config=config) as service:
        assert service.events_scored(acknowledged) == acknowledged
        survivor = service.get("/api/v1/guardian")
        killed = {item["id"] for item in service.get("/api/v1/alerts?limit=200")["items"]}
        assert survivor["events"] == acknowledged
    assert alert_ids <= killed


class Receiver:
    """A SIEM endpoint that is down at first, then overloaded, then takes everything."""

    def __init__(self) -> None:
        self.answers = [500, 429]
        self.received: list[dict[str, Any]] = []

    async def handle(self, request: web.Request) -> web.Response:
        if self.answers:
            return web.Response(status=self.answers.pop(0), headers={"Retry-After": "0"})
        self.received += await request.json()
        return web.Response()


async def test_alerts_reach_a_siem_and_a_file(tmp_path: Path) -> None:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/findings", receiver.handle)
    server = web.AppRunner(app)
    await server.setup()
    site = web.TCPSite(server, "127.0.0.1", 0)
    await site.start()
    port = server.addresses[0][1]
    file = tmp_path / "alerts.jsonl"
    config = f"""
[[sinks]]
name = "siem"
type = "http"
url = "http://127.0.0.1:{port}/findings"
minimum_level = "low"
[[sinks]]
name = "file"
type = "file"
path = "{file}"
minimum_level = "high"
"""

    def use() -> list[dict[str, Any]]:
        with running(tmp_path / "data", config=config) as service:
            service.post("/api/v1/events?map=tamv", lines(6, action="login", user_id="ana", status="failed"))
            service.events_scored(6)
            for _ in range(100):
                metrics = service.get("/metrics")
                if (
                    'sink="siem",state="delivered"} 0.0' not in metrics
                    and 'sink="file",state="delivered"} 0.0' not in metrics
                ):
                    break
                time.sleep(0.1)
            items: list[dict[str, Any]] = service.get("/api/v1/alerts?limit=200")["items"]
            return items

    alerts = await asyncio.to_thread(use)
    await server.cleanup()
    assert {each["finding_info"]["uid"] for each in receiver.received} == {each["id"] for each in alerts}
    assert all(each["class_uid"] == 2004 for each in receiver.received)
    written = [json.loads(line) for line in file.read_text().splitlines()]
    assert {each["metadata"]["uid"] for each in written} == {
        e["id"] for e in alerts if e["levelTo"] in ("high", "critical")
    }
    assert written


async def instrumented(endpoint: str) -> None:
    """An aiohttp application with the OpenTelemetry SDK, as anybody would write it, that serves three requests."""
    import logging

    import aiohttp
    from opentelemetry._logs import SeverityNumber
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = Resource.create({"service.name": "shop"})
    traces = TracerProvider(resource=resource, shutdown_on_exit=False)
    traces.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces")))
    logs = LoggerProvider(resource=resource, shutdown_on_exit=False)
    logs.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter(endpoint=f"{endpoint}/v1/logs")))
    tracer, logger = traces.get_tracer("shop"), logs.get_logger("shop")
    logging.getLogger("opentelemetry").setLevel(logging.ERROR)

    async def order(request: web.Request) -> web.Response:
        with tracer.start_as_current_span("GET") as span:
            span.set_attribute("http.request.method", "GET")
            span.set_attribute("http.route", "/orders/{id}")
            span.set_attribute("client.address", request.remote or "")
            span.set_attribute("http.response.status_code", 200)
            span.set_attribute("user.id", request.query["user"])
            logger.emit(
                body="order shown",
                severity_number=SeverityNumber.INFO,
                event_name="order.shown",
                attributes={"user.id": request.query["user"]},
            )
            return web.Response()

    app = web.Application()
    app.router.add_get("/orders/{id}", order)
    server = web.AppRunner(app)
    await server.setup()
    await web.TCPSite(server, "127.0.0.1", 0).start()
    async with aiohttp.ClientSession() as session:
        for i in range(3):
            await (
                await session.get(f"http://127.0.0.1:{server.addresses[0][1]}/orders/{i}?user=u{i}")
            ).read()
    await server.cleanup()
    await asyncio.to_thread(traces.shutdown)
    await asyncio.to_thread(logs.shutdown)


async def test_a_real_opentelemetry_sdk(tmp_path: Path) -> None:
    with running(tmp_path / "data") as service:
        await instrumented(service.url)
        assert await asyncio.to_thread(service.events_scored, 6) == 6
        entity = await asyncio.to_thread(service.get, "/api/v1/entities/actor/u1")
        assert entity["events"] == 2
        address = await asyncio.to_thread(service.get, "/api/v1/entities/address/127.0.0.1")
        assert address["events"] == 3


def test_a_real_prometheus_scrapes_it(tmp_path: Path) -> None:
    if shutil.which("prometheus") is None:
        pytest.skip("no prometheus on this machine (Debian package prometheus)")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with running(tmp_path / "data") as service:
        (tmp_path / "p.yml").write_text(
            "global: {scrape_interval: 1s}\nscrape_configs: [{job_name: guardian, static_configs: [{targets: ['"
            + service.url.removeprefix("http://")
            + "']}]}]\n"
        )
        with subprocess.Popen(
            [
                "prometheus",
                f"--config.file={tmp_path / 'p.yml'}",
                f"--storage.tsdb.path={tmp_path / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as prometheus:
            try:
                found: list[Any] = []
                for _ in range(100):
                    try:
                        url = f"http://127.0.0.1:{port}/api/v1/query?query=tamv_guardian_threat_level"
                        with urllib.request.urlopen(url, timeout=5) as answer:
                            found = json.loads(answer.read())["data"]["result"]
                    except urllib.error.URLError:
                        pass
                    if found:
                        break
                    time.sleep(0.2)
                assert found[0]["metric"]["scope"] == "global"
            finally:
                prometheus.terminate()


def test_promtool_accepts_the_metrics(tmp_path: Path) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("no promtool on this machine (Debian package prometheus)")
    with running(tmp_path / "data") as service:
        text = service.get("/metrics")
        openmetrics = service.get("/metrics", accept="application/openmetrics-text; version=1.0.0")
    out = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert out.returncode == 0, out.stdout + out.stderr
    assert openmetrics.endswith("# EOF\n")


async def test_our_own_traces_and_metrics_reach_a_collector(tmp_path: Path) -> None:
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    spans: list[str] = []
    metrics: list[str] = []

    async def take(request: web.Request) -> web.Response:
        body = await request.read()
        if request.path == "/v1/traces":
            for part in ExportTraceServiceRequest.FromString(body).resource_spans:
                spans.extend(span.name for scope in part.scope_spans for span in scope.spans)
        else:
            for group in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                metrics.extend(metric.name for scope in group.scope_metrics for metric in scope.metrics)
        return web.Response(content_type="application/x-protobuf")

    app = web.Application()
    app.router.add_post("/v1/{what}", take)
    server = web.AppRunner(app)
    await server.setup()
    await web.TCPSite(server, "127.0.0.1", 0).start()

    def use() -> None:
        endpoint = f"http://127.0.0.1:{server.addresses[0][1]}"
        with running(
            tmp_path / "data", config=f'[telemetry]\nendpoint = "{endpoint}"\ninterval_s = 1'
        ) as service:
            service.post("/api/v1/events?map=tamv", lines(3))
            service.events_scored(3)

    await asyncio.to_thread(use)
    await server.cleanup()
    assert "guardian.batch" in spans
    assert {"tamv.guardian.score", "tamv.guardian.events"} <= set(metrics)


async def test_headsets_are_told(tmp_path: Path) -> None:
    from websockets.asyncio.client import connect

    with running(tmp_path / "data", config="[xr]\ntick_ms = 20") as service:
        async with connect(service.xr, compression=None) as socket_:
            assert json.loads(await socket_.recv())["type"] == "welcome"
            body = lines(6, action="login", user_id="ana", status="failed")
            await asyncio.to_thread(service.post, "/api/v1/events?map=tamv", body)
            async with asyncio.timeout(20):
                while True:
                    message = json.loads(await socket_.recv())
                    if message["type"] == "guardian_update" and message["payload"]["mood"] == "alert":
                        break
            assert message["payload"]["sceneId"] == "guardian-global"
            assert "ana" not in json.dumps(message)
            metrics = await asyncio.to_thread(service.get, "/metrics")
            assert "tamv_xr_gateway_connections 1.0" in metrics


@pytest.mark.parametrize(
    ("arguments", "config", "said"),
    [
        (["--port", "{taken}"], "", "is in use"),
        (["--data-dir", "/proc/no"], "", "choose another"),
        (["--host", "0.0.0.0"], "", "no tokens are configured"),
        ([], "[engine]\nhold = 3", "engine.hold: expected one of"),
        ([], "[[sinks]]\nname='a'\ntype='http'\nurl='http://x'\ntoken_env='NO_SUCH_TOKEN'", "NO_SUCH_TOKEN"),
    ],
)
def test_what_keeps_it_from_starting_is_one_clear_line(
    tmp_path: Path, arguments: list[str], config: str, said: str
) -> None:
    (tmp_path / "c.toml").write_text(config)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "guardian", "run", "--config", str(tmp_path / "c.toml")]
        command += ["--data-dir", str(tmp_path / "d"), "--port", "0", "--xr-port", "0"]
        command += [part.replace("{taken}", port) for part in arguments]
        out = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, "GUARDIAN_LANG": "en"},
        )
    assert out.returncode == 2, out.stderr
    assert said in out.stderr
    assert out.stderr.startswith("error: ")
    assert "Traceback" not in out.stderr
    assert out.stdout == ""
