"""``guardian silence add | list | end``: which alerts nobody is told of, at the running service.

Owns the three commands and how silences read on a terminal. Asking is ``guardian.gateway.client``'s.
"""

import json as jsonlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from guardian import texts
from guardian.errors import InputError

_PATH = "/api/v1/silences"
_URL = "http://127.0.0.1:8787"
_MATCHERS = ("role", "entity", "layer", "channel", "kind")


def build(language: texts.Language) -> typer.Typer:
    """The commands in one language."""

    def say(key: str, **values: Any) -> str:
        return texts.text(f"silence.{key}", language, **values)

    app = typer.Typer(
        name="silence",
        help=say("about"),
        no_args_is_help=True,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    json_option = typer.Option("--json", help=texts.text("cli.json", language))
    url_option = typer.Option("--url", help=texts.text("cli.url", language), metavar="URL")
    limit_option = typer.Option(help=texts.text("cli.limit", language), min=1, max=200)
    offset_option = typer.Option(help=texts.text("cli.offset", language), min=0)

    @app.command("add", help=say("add"))
    def add_command(
        reason: Annotated[str, typer.Option(help=say("reason"), metavar="TEXT")],
        role: Annotated[str | None, typer.Option(help=say("role"), metavar="ROLE")] = None,
        entity: Annotated[str | None, typer.Option(help=say("entity"), metavar="PATTERN")] = None,
        layer: Annotated[str | None, typer.Option(help=say("layer"), metavar="LAYER")] = None,
        channel: Annotated[str | None, typer.Option(help=say("channel"), metavar="CHANNEL")] = None,
        kind: Annotated[str | None, typer.Option(help=say("kind"), metavar="KIND")] = None,
        level_at_most: Annotated[str, typer.Option(help=say("level"), metavar="LEVEL")] = "critical",
        owner: Annotated[str | None, typer.Option(help=say("owner"), metavar="NAME")] = None,
        begin: Annotated[str | None, typer.Option("--from", help=say("from"), metavar="TIME")] = None,
        until: Annotated[str | None, typer.Option(help=say("until"), metavar="TIME")] = None,
        during: Annotated[str | None, typer.Option("--for", help=say("for"), metavar="DURATION")] = None,
        url: Annotated[str, url_option] = _URL,
        json: Annotated[bool, json_option] = False,  # noqa: FBT002  (a flag)
    ) -> None:
        from guardian.gateway import client

        given = {"role": role, "entity": entity, "layer": layer, "channel": channel, "kind": kind}
        about = {"levelAtMost": level_at_most, "owner": owner, "reason": reason, **given}
        told = client.ask(url, _PATH, request(about, begin=begin, until=until, during=during), key="msrIndex")
        _tell([told], json=told if json else None)
        if not json:
            typer.echo(texts.text("cli.registered", language, index=told["msrIndex"]))

    @app.command("list", help=say("list"))
    def list_command(
        every: Annotated[bool, typer.Option("--all", help=say("all"))] = False,  # noqa: FBT002
        limit: Annotated[int, limit_option] = 50,
        offset: Annotated[int, offset_option] = 0,
        url: Annotated[str, url_option] = _URL,
        json: Annotated[bool, json_option] = False,  # noqa: FBT002
    ) -> None:
        from guardian.gateway import client

        path = f"{_PATH}?active={'false' if every else 'true'}&limit={limit}&offset={offset}"
        page = client.ask(url, path, key="items")
        _tell(page["items"], json=page if json else None)
        if not json:
            typer.echo(texts.text("cli.shown", language, count=len(page["items"]), total=page["total"]))

    @app.command("end", help=say("end"))
    def end_command(
        silence_id: Annotated[str, typer.Argument(help=say("id"), metavar="ID")],
        url: Annotated[str, url_option] = _URL,
        json: Annotated[bool, json_option] = False,  # noqa: FBT002
    ) -> None:
        from guardian.gateway import client

        path = f"{_PATH}/{quote(silence_id, safe='', errors='replace')}"
        told = client.ask(url, path, key="msrIndex", method="DELETE")
        _tell([told], json=told if json else None)

    def _tell(items: Sequence[Mapping[str, Any]], *, json: Mapping[str, Any] | None) -> None:
        if json is not None:
            typer.echo(jsonlib.dumps(json, ensure_ascii=False))
        elif items:
            Console().print(table(items, language))

    return app


def request(
    about: Mapping[str, str | None], *, begin: str | None, until: str | None, during: str | None
) -> dict[str, str]:
    """The body of a request from what a person wrote; a time without zone is the one of this machine.

    Raises:
        InputError: a time or duration cannot be read, or the end is said twice or not at all.
    """
    from guardian.gateway.client import later, moment

    if (until is None) == (during is None):
        raise InputError("--for", "expected one of --until and --for")
    body = {key: value for key, value in about.items() if value is not None}
    start = datetime.now(UTC) if begin is None else moment("--from", begin)
    if begin is not None:
        body["startsAt"] = start.isoformat()
    end = moment("--until", until) if until is not None else later(start, str(during))
    return body | {"endsAt": end.isoformat()}


def table(items: Sequence[Mapping[str, Any]], language: texts.Language) -> Table:
    """Silences for a terminal, as the service lists them."""
    made = Table(box=None, padding=(0, 1, 0, 0))
    for key in ("id", "state", "ends", "what", "owner", "why"):
        made.add_column(
            texts.text(f"silence.column_{key}", language),
            overflow="fold",
            no_wrap=key in {"id", "state", "ends"},
        )
    for each in items:
        what = [f"{key}={each[key]}" for key in _MATCHERS if each[key] is not None]
        if each["levelAtMost"] != "critical":
            what.append(f"≤ {texts.text('levels.' + each['levelAtMost'], language)}")
        cells = [
            each["id"],
            texts.text(f"silence.state_{each['state']}", language),
            f"{each['endsAt'][:10]} {each['endsAt'][11:16]}Z",
            ", ".join(what),
            each["owner"],
            each["reason"],
        ]
        made.add_row(*(Text(texts.plain(cell)) for cell in cells))
    return made
