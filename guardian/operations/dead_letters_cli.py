"""``guardian dlq``: the commands about dead letters. Wiring only, as the rest of the command line.

They are asked of a running service, or done on the data folder of one at rest (``guardian.operations.dead_letters``).
"""

import json as json_
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from guardian import texts
from guardian.config import Config
from guardian.errors import InputError

NOT_DONE = 1
"""Exit code when a person answers no."""

Say = Callable[..., str]


def commands(say: Say, language: texts.Language, settings: Callable[[Path | None], Config]) -> typer.Typer:
    """The commands about dead letters.

    Args:
        say: a text of the command line, by its key.
        language: of the texts.
        settings: reads a configuration file; without one, the embedded default.
    """
    app = typer.Typer(help=say("dlq"), no_args_is_help=True, rich_markup_mode=None)
    sink_argument = typer.Argument(help=say("dlq_sink_argument"), metavar="SINK")
    alert_argument = typer.Argument(help=say("dlq_alert_argument"), metavar="ALERT")
    alerts_argument = typer.Argument(help=say("dlq_alert_argument"), metavar="[ALERT…]", show_default=False)
    all_option = typer.Option("--all", help=say("dlq_all"))
    json_option = typer.Option("--json", help=say("json"))
    config_option = typer.Option("--config", help=say("run_config"), metavar="FILE")
    data_option = typer.Option(help=say("dlq_data"), metavar="DIR")
    url_option = typer.Option("--url", help=say("url"), metavar="URL")
    place, address = Path("guardian-data"), "http://127.0.0.1:8787"

    def ask(data_dir: Path, config: Path | None, url: str, action: Any, **asked: Any) -> dict[str, Any]:
        from guardian.operations import dead_letters

        request = dead_letters.Request(action=action, **asked)
        return dead_letters.ask(data_dir, settings(config), url, request)

    def tell(told: dict[str, Any], *, json: bool) -> None:
        typer.echo(json_.dumps(told) if json else say("dlq_changed", count=told["changed"]))

    @app.command("list", help=say("dlq_list"))
    def list_command(
        sink: Annotated[str | None, typer.Option(help=say("dlq_of"), metavar="SINK")] = None,
        limit: Annotated[int, typer.Option(help=say("limit"), min=1, max=200)] = 50,
        offset: Annotated[int, typer.Option(help=say("offset"), min=0)] = 0,
        data_dir: Annotated[Path, data_option] = place,
        config: Annotated[Path | None, config_option] = None,
        url: Annotated[str, url_option] = address,
        json: Annotated[bool, json_option] = False,  # noqa: FBT002
    ) -> None:
        page = ask(data_dir, config, url, "list", sink=sink, limit=limit, offset=offset)
        if json:
            typer.echo(json_.dumps(page, ensure_ascii=False))
            return
        from guardian.operations.dead_letters import table

        if page["items"]:
            Console().print(table(page["items"], language))
        typer.echo(say("shown", count=len(page["items"]), total=page["total"]))

    @app.command("show", help=say("dlq_show"))
    def show_command(
        sink: Annotated[str, sink_argument],
        alert: Annotated[str, alert_argument],
        data_dir: Annotated[Path, data_option] = place,
        config: Annotated[Path | None, config_option] = None,
        url: Annotated[str, url_option] = address,
        json: Annotated[bool, json_option] = False,  # noqa: FBT002
    ) -> None:
        letter = ask(data_dir, config, url, "show", sink=sink, alerts=(alert,))
        if json:
            typer.echo(json_.dumps(letter, ensure_ascii=False))
            return
        from guardian.operations.dead_letters import details, table

        Console().print(table([letter], language))
        typer.echo(details(letter, language))

    @app.command("edit", help=say("dlq_edit"))
    def edit_command(
        sink: Annotated[str, sink_argument],
        alert: Annotated[str, alert_argument],
        message: Annotated[typer.FileText, typer.Option(help=say("dlq_edit_message"), encoding="utf-8")],
        data_dir: Annotated[Path, data_option] = place,
        config: Annotated[Path | None, config_option] = None,
        url: Annotated[str, url_option] = address,
        json: Annotated[bool, json_option] = False,  # noqa: FBT002
    ) -> None:
        try:
            text = message.read()
        except UnicodeDecodeError:
            raise InputError("--message", "expected text in UTF-8") from None
        tell(ask(data_dir, config, url, "edit", sink=sink, alerts=(alert,), message=text), json=json)

    @app.command("replay", help=say("dlq_replay"))
    def replay_command(
        sink: Annotated[str, sink_argument],
        alerts: Annotated[list[str] | None, alerts_argument] = None,
        every: Annotated[bool, all_option] = False,  # noqa: FBT002
        data_dir: Annotated[Path, data_option] = place,
        config: Annotated[Path | None, config_option] = None,
        url: Annotated[str, url_option] = address,
        json: Annotated[bool, json_option] = False,  # noqa: FBT002
    ) -> None:
        named = tuple(alerts or ())
        tell(ask(data_dir, config, url, "replay", sink=sink, alerts=named, every=every), json=json)

    @app.command("drop", help=say("dlq_drop"))
    def drop_command(
        sink: Annotated[str, sink_argument],
        reason: Annotated[str, typer.Option(help=say("dlq_drop_reason"), metavar="TEXT")],
        alerts: Annotated[list[str] | None, alerts_argument] = None,
        every: Annotated[bool, all_option] = False,  # noqa: FBT002
        yes: Annotated[bool, typer.Option("--yes", help=say("dlq_yes"))] = False,  # noqa: FBT002
        data_dir: Annotated[Path, data_option] = place,
        config: Annotated[Path | None, config_option] = None,
        url: Annotated[str, url_option] = address,
        json: Annotated[bool, json_option] = False,  # noqa: FBT002
    ) -> None:
        named = tuple(alerts or ())
        which = texts.plain(", ".join(named)) or say("dlq_every")
        if not yes and not typer.confirm(say("dlq_confirm", which=which, sink=sink), err=True):
            raise typer.Exit(NOT_DONE)
        tell(
            ask(data_dir, config, url, "drop", sink=sink, alerts=named, every=every, reason=reason), json=json
        )

    return app
