"""Starting and stopping the service: sockets, signals, the demo."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import resource
import signal
import sys
from pathlib import Path
from typing import Final

import structlog
import uvloop
from aiohttp import web
from msgspec.structs import replace

from guardian import texts
from guardian.config import Config
from guardian.errors import MachineError
from guardian.gateway import application, check_binding, in_use, runner
from guardian.service import Service

DEMO_LATENESS_S: Final = 3 * 3600.0
_OTHER_FILES: Final = 256
"""Files and connections that are kept for other things than HTTP."""


def serve(config: Config, folder: Path, *, demo: bool) -> None:
    """Run until SIGTERM or SIGINT, then drain and return.

    Raises:
        MachineError: a port is taken, the data folder cannot be used, or the address would be open to others.
        LedgerError: the register is damaged or was rolled back.
    """
    check_binding(config)
    if demo:
        config = _for_demo(config)
    _log_to_stderr()
    uvloop.run(_serve(config, folder, demo=demo))


def _for_demo(config: Config) -> Config:
    """The same configuration with what the synthetic day needs: its honeypot, and patience with its clock.

    A compressed clock brings an hour of logs, then the same hour of spans: late by the clock, not by the sender.
    """
    from guardian.demo import HONEYPOT

    engine = replace(config.engine, allowed_lateness_s=max(config.engine.allowed_lateness_s, DEMO_LATENESS_S))
    rules = replace(config.rules, honeypots=(*config.rules.honeypots, HONEYPOT))
    return replace(config, engine=engine, rules=rules)


async def _serve(config: Config, folder: Path, *, demo: bool) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    service = await asyncio.to_thread(Service, config, folder, synthetic=demo)
    app = runner(
        application(service, settings=config.server, refused=service.refused),
        max_connections=min(config.resources.max_connections, _most_files() - _OTHER_FILES),
    )
    await app.setup()
    service.face = lambda: in_use(app)
    try:
        await service.start()
        host = config.server.host
        xr_port = await service.xr.start(host, config.server.xr_port)
        port = await _listen(app, host, config.server.port, "server.port")
        if config.server.otlp_port >= 0:
            await _listen(app, host, config.server.otlp_port, "server.otlp_port")
        shown = f"[{host}]" if ":" in host else host
        _say(f"guardian xr gateway on ws://{shown}:{xr_port}/ws/xr")
        _say(f"guardian listening on http://{shown}:{port}")
        playing = (
            asyncio.create_task(_play(shown, port, xr_port, stopping, config.language)) if demo else None
        )
        await stopping.wait()
        if playing is not None:
            await playing
    finally:
        # New work first, then what is under way: nothing that was acknowledged waits for the next start.
        await app.cleanup()
        await service.xr.stop()
        await service.stop()


def _most_files() -> int:
    """Files and connections that this process may have open, once it asked for as many as it can get."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return soft


async def _listen(app: web.AppRunner, host: str, port: int, key: str) -> int:
    site = web.TCPSite(app, host, port)
    try:
        await site.start()
    except OSError as error:
        reason = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be opened ({error.strerror})"
        raise MachineError(
            f"{key}: {host}:{port} {reason}; choose another one, or 0 for a free one"
        ) from None
    return int(app.addresses[-1][1])


async def _play(
    host: str, port: int, xr_port: int, stopping: asyncio.Event, language: texts.Language
) -> None:
    from guardian.demo import play

    log = structlog.get_logger("guardian.demo")
    with contextlib.suppress(asyncio.CancelledError):
        try:
            await play(
                f"http://{host}:{port}",
                f"ws://{host}:{xr_port}/ws/xr",
                stop=stopping,
                announce=lambda key: log.info(texts.text(f"demo.{key}", language), synthetic=True),
            )
        except OSError as error:
            log.warning("the demo stopped", reason=str(error))


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _log_to_stderr() -> None:
    """Structured logs on stderr: people read them on a terminal, machines as JSON lines."""
    terminal = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer()
            if terminal
            else structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
