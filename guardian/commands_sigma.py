"""``guardian sigma check``: which detection rules load, and why the others do not.

Owns the command, its table and its JSON. Does not own what is loaded (``guardian.sigma.parse``).
"""

import json as jsonlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from guardian import texts
from guardian.errors import ConfigError, Problem
from guardian.sigma_settings import Sigma, rule_texts

_SOME_REFUSED: Final = 1


def build(language: texts.Language) -> typer.Typer:
    """The command in one language."""
    app = typer.Typer(
        name="sigma",
        help=texts.text("sigma.help", language),
        no_args_is_help=True,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    paths_argument = typer.Argument(help=texts.text("sigma.paths", language), metavar="PATHS")
    config_option = typer.Option("--config", help=texts.text("cli.run_config", language), metavar="FILE")
    json_option = typer.Option("--json", help=texts.text("cli.json", language))

    @app.callback()
    def group() -> None:
        """Makes the command a group, though it has one command."""

    @app.command("check", help=texts.text("sigma.check", language))
    def check_command(
        paths: Annotated[list[Path] | None, paths_argument] = None,
        config: Annotated[Path | None, config_option] = None,
        json: Annotated[bool, json_option] = False,  # noqa: FBT002  (a flag)
    ) -> None:
        from guardian.config import load

        told = checked(paths or (), load(config).sigma if config else Sigma())
        if json:
            typer.echo(jsonlib.dumps(told, ensure_ascii=False))
        else:
            Console().print(table(told, language))
            counts = {key: len(told[key]) for key in ("loaded", "refused")}
            typer.echo(texts.text("sigma.counted", language, **counts))
        if told["refused"]:
            raise typer.Exit(_SOME_REFUSED)

    return app


def checked(paths: Sequence[Path], settings: Sigma) -> dict[str, Any]:
    """What becomes of the rules below some paths, or, without paths, of those of the settings; as ``--json`` prints it.

    Raises:
        ConfigError: a path cannot be read, or there are no rules at all.
    """
    from guardian.sigma.parse import parse
    from guardian.sigma.program import compiled

    rules = settings.rules
    if paths:
        problems: list[Problem] = []
        rules = rule_texts(Path(), [str(path) for path in paths], problems)
        if problems:
            raise ConfigError("sigma", problems)
    if not rules:
        raise ConfigError(
            "sigma", [Problem("PATHS", "files or folders of rules, or sigma.paths in --config", "nothing")]
        )
    found = parse(rules, exclude=settings.exclude)
    compiled(found)  # proves that what is called loaded can be run
    return {
        "loaded": [
            {
                "file": about.file,
                "title": about.title,
                "id": about.id,
                "level": about.level,
                "reports": about.reports,
                "tags": list(about.tags),
            }
            for about in found.abouts()
        ],
        "refused": [
            {"file": each.file, "title": each.title, "id": each.id, "reason": each.reason}
            for each in found.refused
        ],
    }


def table(told: dict[str, Any], language: texts.Language) -> Table:
    """The same for a terminal: refused ones last, where they are seen."""

    def say(key: str) -> str:
        return texts.text(f"sigma.{key}", language)

    def plain(text: str) -> Text:
        return Text(texts.plain(text))

    made = Table(title=say("title"))
    for key in ("state", "rule", "level", "tags", "file"):
        made.add_column(say(key), overflow="fold")
    for each in told["loaded"]:
        state = say("loaded") if each["reports"] else say("feeds")
        level = texts.text(f"sigma.level_{each['level']}", language) if each["reports"] else ""
        tags = plain(" ".join(tag.removeprefix("attack.") for tag in each["tags"]))
        made.add_row(state, plain(each["title"]), level, tags, plain(each["file"]))
    for each in told["refused"]:
        why = plain(each["reason"])
        made.add_row(
            Text(say("refused"), style="bold red"),
            plain(each["title"] or each["id"]),
            "",
            why,
            plain(each["file"]),
        )
    return made
