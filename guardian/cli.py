"""The ``guardian`` command. Wiring only: it reads arguments, calls, and prints what comes back.

Results go to stdout, progress and messages to stderr; ``--json`` prints one object on stdout and nothing else there.
Exit codes: 0 ok, 1 found wrong, 2 bad usage or bad input. A mistake of the user never shows a traceback.
"""

import json as jsonlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from guardian import commands_dlq, commands_sigma, commands_silence, texts
from guardian.errors import GuardianError, MachineError

FOUND_WRONG, BAD_INPUT = 1, 2


def language_of(environment: Mapping[str, str]) -> texts.Language:
    """The language that a person's environment asks for; Spanish unless it says English.

    >>> language_of({"LANG": "en_US.UTF-8"}), language_of({"LANG": "C.UTF-8"}), language_of({})
    ('en', 'es-MX', 'es-MX')
    """
    for name in ("GUARDIAN_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        value = environment.get(name, "")
        if value:
            return "en" if value.lower().startswith("en") else "es-MX"
    return "es-MX"


def main() -> None:
    """Run the command and leave with its exit code."""
    language = language_of(os.environ)
    try:
        build(language)()
    except GuardianError as error:
        print(f"{texts.text('cli.error', language)}: {error}", file=sys.stderr)
        sys.exit(BAD_INPUT)
    except BrokenPipeError:
        # Whoever read our output has read enough (guardian … | head); Python must not try to flush again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def build(language: texts.Language) -> typer.Typer:
    """The command in one language."""

    def say(key: str, **values: Any) -> str:
        return texts.text(f"cli.{key}", language, **values)

    app = typer.Typer(
        name="guardian",
        help=say("about"),
        epilog=say("more"),
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        add_completion=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    json_option = typer.Option("--json", help=say("json"))
    config_option = typer.Option("--config", help=say("run_config"), metavar="FILE")
    acknowledged_option = typer.Option("--acknowledged", help=say("acknowledged"), metavar="FILE")
    url_option = typer.Option("--url", help=say("url"), metavar="URL")
    errors = Console(stderr=True)

    @app.command("run", help=say("run"))
    def run_command(
        config: Annotated[Path | None, config_option] = None,
        data_dir: Annotated[Path, typer.Option(help=say("run_data"), metavar="DIR")] = Path("guardian-data"),
        host: Annotated[str | None, typer.Option(help=say("run_host"))] = None,
        port: Annotated[int | None, typer.Option(help=say("run_port"), min=0, max=65535)] = None,
        xr_port: Annotated[int | None, typer.Option(help=say("run_xr_port"), min=0, max=65535)] = None,
        demo: Annotated[bool, typer.Option("--demo", help=say("run_demo"))] = False,  # noqa: FBT002  (a flag)
    ) -> None:
        settings = _settings(config, host=host, port=port, xr_port=xr_port)
        _warm_up(errors, say)
        if demo:
            errors.print(say("synthetic"), style="bold yellow")
        from guardian.run import serve

        serve(settings, data_dir, demo=demo)

    @app.command("replay", help=say("replay"))
    def replay_command(
        files: Annotated[list[Path], typer.Argument(help=say("replay_files"), metavar="FILE…")],
        map_name: Annotated[str | None, typer.Option("--map", help=say("replay_map"), metavar="MAP")] = None,
        form: Annotated[str | None, typer.Option("--format", help=say("replay_format"))] = None,
        out: Annotated[Path | None, typer.Option(help=say("replay_out"), metavar="DIR")] = None,
        acknowledged: Annotated[Path | None, acknowledged_option] = None,
        config: Annotated[Path | None, config_option] = None,
        json: Annotated[bool, json_option] = False,  # noqa: FBT002
    ) -> None:
        settings = _settings(config)
        _warm_up(errors, say)
        from guardian.replay import replay, tables
        from xr_telemetry import recordings

        summary = replay(
            files,
            map_name=map_name,
            form=form,
            out=out,
            config=settings,
            progress=not json,
            language=language,
            read=recordings.read if form == "xr" else None,
            acknowledgements=acknowledged,
        )
        if json:
            print(jsonlib.dumps(summary, ensure_ascii=False))
            return
        for table in tables(summary, language):
            Console().print(table)

    @app.command("backtest", help=say("backtest"))
    def backtest_command(
        files: Annotated[list[Path], typer.Argument(help=say("replay_files"), metavar="FILE…")],
        map_name: Annotated[str, typer.Option("--map", help=say("replay_map"), metavar="MAP")],
        by: Annotated[str, typer.Option(help=say("backtest_by"))] = "target",
        window: Annotated[str, typer.Option(help=say("backtest_window"))] = "5m",
        warmup: Annotated[str, typer.Option(help=say("backtest_warmup"))] = "24h",
        plot: Annotated[Path | None, typer.Option(help=say("backtest_plot"), metavar="FILE")] = None,
        acknowledged: Annotated[Path | None, acknowledged_option] = None,
        config: Annotated[Path | None, config_option] = None,
        json: Annotated[bool, json_option] = False,  # noqa: FBT002
    ) -> None:
        settings = _settings(config)
        _warm_up(errors, say)
        from guardian.backtest import backtest_files

        result = backtest_files(
            files,
            map=map_name,
            by=by,
            window=window,
            warmup=warmup,
            config=settings,
            acknowledged=acknowledged or (),
        )
        if plot is not None:
            result.plot.timeline(language=language).save(str(plot))
            errors.print(say("written", path=plot), markup=False)
        if json:
            print(jsonlib.dumps(result.to_json(), ensure_ascii=False))
        else:
            result.print(Console(), language)

    @app.command("acknowledge", help=say("acknowledge"))
    def acknowledge_command(
        role: Annotated[str, typer.Argument(help=say("acknowledge_role"), metavar="ROLE")],
        entity: Annotated[str, typer.Argument(help=say("acknowledge_entity"), metavar="ENTITY")],
        kind: Annotated[str, typer.Argument(help=say("acknowledge_kind"), metavar="KIND")],
        reason: Annotated[str, typer.Option(help=say("acknowledge_reason"), metavar="TEXT")],
        until: Annotated[str | None, typer.Option(help=say("acknowledge_until"), metavar="TIME")] = None,
        during: Annotated[
            str | None, typer.Option("--for", help=say("acknowledge_for"), metavar="DURATION")
        ] = None,
        withdraw: Annotated[bool, typer.Option("--withdraw", help=say("acknowledge_withdraw"))] = False,  # noqa: FBT002
        url: Annotated[str, url_option] = "http://127.0.0.1:8787",
        json: Annotated[bool, json_option] = False,  # noqa: FBT002
    ) -> None:
        from guardian.gateway import client

        body = client.acknowledgement(
            role, entity, kind, reason=reason, until=until, during=during, withdraw=withdraw
        )
        told = client.ask(url, "/api/v1/acknowledgements", body, key="msrIndex")
        if json:
            print(jsonlib.dumps(told, ensure_ascii=False))
            return
        Console().print(client.table([told], language))
        print(say("registered", index=told["msrIndex"]))

    @app.command("acknowledgements", help=say("acknowledgements"))
    def acknowledgements_command(
        every: Annotated[bool, typer.Option("--all", help=say("acknowledgements_all"))] = False,  # noqa: FBT002
        limit: Annotated[int, typer.Option(help=say("limit"), min=1, max=200)] = 50,
        offset: Annotated[int, typer.Option(help=say("offset"), min=0)] = 0,
        url: Annotated[str, url_option] = "http://127.0.0.1:8787",
        json: Annotated[bool, json_option] = False,  # noqa: FBT002
    ) -> None:
        from guardian.gateway import client

        active = "false" if every else "true"
        path = f"/api/v1/acknowledgements?active={active}&limit={limit}&offset={offset}"
        page = client.ask(url, path, key="items")
        if json:
            print(jsonlib.dumps(page, ensure_ascii=False))
            return
        if page["items"]:
            Console().print(client.table(page["items"], language))
        print(say("shown", count=len(page["items"]), total=page["total"]))

    @app.command("calibrate", help=say("calibrate"))
    def calibrate_command(
        files: Annotated[list[Path], typer.Argument(help=say("replay_files"), metavar="FILE…")],
        map_name: Annotated[str | None, typer.Option("--map", help=say("replay_map"), metavar="MAP")] = None,
        warmup: Annotated[str, typer.Option(help=say("backtest_warmup"))] = "24h",
        out: Annotated[Path | None, typer.Option(help=say("calibrate_out"), metavar="FILE")] = None,
        config: Annotated[Path | None, config_option] = None,
        json: Annotated[bool, json_option] = False,  # noqa: FBT002
    ) -> None:
        settings = _settings(config)
        _warm_up(errors, say)
        from guardian.backtest.durations import nanoseconds
        from guardian.calibrate import calibrate

        fit = calibrate(files, map_name=map_name, warmup_ns=nanoseconds("warmup", warmup), config=settings)
        if out is not None:
            _written(out, fit.toml())
            errors.print(say("written", path=out), markup=False)
        if json:
            print(jsonlib.dumps(fit.to_json()))
        else:
            print(fit.toml(), end="")
            for word, count in fit.exceeded.items():
                budget = fit.to_json()["budgetPerEntityDay"][word] * 100
                level = texts.text(f"levels.{word}", language)
                print(
                    say(
                        "budget",
                        level=level,
                        budget=f"{budget:g}",
                        count=count,
                        days=f"{fit.entity_days:.1f}",
                    )
                )

    @app.command("verify", help=say("verify"))
    def verify_command(
        path: Annotated[Path, typer.Argument(help=say("verify_path"), metavar="PATH")],
        json: Annotated[bool, json_option] = False,  # noqa: FBT002
    ) -> None:
        from exporters.msr.fsck import verify

        found = verify(path, language=language)
        if json:
            print(
                jsonlib.dumps(
                    {"ok": found.ok, "size": found.size, "root": found.root, "damage": found.damage}
                )
            )
        elif found.ok:
            print(say("verified", size=found.size, root=found.root))
        else:
            for place in found.damage:
                print(say("damaged", place=place))
        if not found.ok:
            raise typer.Exit(FOUND_WRONG)

    @app.command("check", help=say("check"))
    def check_command(
        config: Annotated[Path | None, config_option] = None,
        data_dir: Annotated[Path, typer.Option(help=say("run_data"), metavar="DIR")] = Path("guardian-data"),
        json: Annotated[bool, json_option] = False,  # noqa: FBT002
    ) -> None:
        from guardian.operations.checks import checklist, print_checklist

        found = checklist(config, data_dir, language=language)
        if json:
            print(
                jsonlib.dumps(
                    {"ok": all(each.ok for each in found), "checks": [each.to_json() for each in found]}
                )
            )
        else:
            print_checklist(found, Console(), language)
        if not all(each.ok for each in found):
            raise typer.Exit(FOUND_WRONG)

    @app.command("bench", help=say("bench"))
    def bench_command(
        data: Annotated[Path | None, typer.Option(help=say("bench_data"), metavar="DIR")] = None,
        json: Annotated[bool, json_option] = False,  # noqa: FBT002
    ) -> None:
        _warm_up(errors, say)
        from guardian.bench import bench, table

        figures = bench(data)
        if json:
            print(jsonlib.dumps(figures))
        else:
            Console().print(table(figures, language))

    app.add_typer(commands_dlq.build(language))
    app.add_typer(commands_sigma.build(language))
    app.add_typer(commands_silence.build(language))
    return app


def _settings(config: Path | None, **server: Any) -> Any:
    """The configuration of a file, or the embedded default, with what the command line says about the server."""
    from msgspec.structs import replace

    from guardian.config import Config, load

    settings = load(config) if config is not None else Config()
    given = {key: value for key, value in server.items() if value is not None}
    return replace(settings, server=replace(settings.server, **given)) if given else settings


def _written(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise MachineError(
            f"{path}: cannot be written ({error.strerror}); choose another file with --out"
        ) from None


def _warm_up(errors: Console, say: Any) -> None:
    from guardian.warm_up import warm_up

    warm_up(errors, say)
