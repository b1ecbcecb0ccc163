"""The command line: the module of each command, and the messages of errors.

It imports a command's module only when that command is called, so that each command starts fast.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from consumer.cli.target import command
from consumer.core.errors import BadInput, BizQError, Problem
from consumer.ports import PortError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

COMMANDS: Final = {
    "demo": ("consumer.cli.dev.commands", "See it work: a real model, real tasks, one machine."),
    "dev": ("consumer.cli.dev.commands", "Run the worker on this machine until Ctrl-C."),
    "submit": ("consumer.cli.tasks", "Add the tasks of a file, all or none."),
    "status": ("consumer.cli.live", "Count the tasks, or show the live status of one."),
    "watch": ("consumer.cli.live", "Follow a task until it has ended."),
    "show": ("consumer.cli.tasks", "Everything that happened to a task, and why it is not running."),
    "journal": ("consumer.cli.journal", "The history of a task as lines without payloads."),
    "cancel": ("consumer.cli.change", "End a task, or all that fit a filter."),
    "retry": (
        "consumer.cli.change",
        "Create a new task like one that has ended, or like each that fits a filter.",
    ),
    "release": ("consumer.cli.change", "Wait no longer for evidence about calls of unknown outcome."),
    "adopt": ("consumer.cli.tasks", "Let tasks run that are older than the installation."),
    "inbox": ("consumer.cli.tasks", "The assignments that wait for people, with their links."),
    "cost": ("consumer.cli.operate", "The costs of executions."),
    "tick": ("consumer.cli.operate", "Do once what cron does every minute."),
    "stop": ("consumer.cli.operate", "Stop all spending immediately."),
    "resume": ("consumer.cli.operate", "Continue after a stop."),
    "restore": ("consumer.cli.restore", "Finish a restore of the database to an earlier time."),
    "doctor": ("consumer.cli.operate", "Check everything that the worker depends on."),
    "providers": ("consumer.cli.providers", "The adapters: what each of them can do."),
    "org": ("consumer.cli.configure", "Organizations (org for short): create."),
    "user": ("consumer.cli.configure", "People of an organization: create."),
    "key": ("consumer.cli.configure", "API keys: create, revoke."),
    "template": ("consumer.cli.configure", "How tasks of a kind are done: put."),
    "budget": ("consumer.cli.configure", "Caps on money: put."),
}
"""The module and the summary of each command."""

FAILED: Final = 1
USAGE: Final = 2
INTERRUPTED: Final = 130


class Failure(click.ClickException):
    """An error of a command: one clear line, or one line for each problem, and a non-zero exit code."""

    def __init__(self, message: str, problems: Sequence[Problem] = (), code: int = FAILED) -> None:
        super().__init__(message)
        self.problems = problems
        self.code = code

    def lines(self) -> list[str]:
        """The lines for people."""
        return [str(problem) for problem in self.problems] or [" ".join(self.message.split())]

    def value(self) -> dict[str, Any]:
        """The JSON for programs."""
        problems = [{"field": problem.field, "message": problem.message} for problem in self.problems]
        return {"error": {"message": self.message, "problems": problems}}


class LazyGroup(click.Group):
    """A group that finds its commands in `COMMANDS`."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # as above
        if cmd_name not in COMMANDS:
            return None
        found = getattr(importlib.import_module(COMMANDS[cmd_name][0]), cmd_name)
        assert isinstance(found, click.Command)  # noqa: S101  # as in the table
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  # as above
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run one command.  Its errors become a Failure here, where hints can still repeat its options."""
        try:
            return super().invoke(ctx)
        except (BizQError, PortError) as error:
            raise failure(error) from None

    def main(self, args: Sequence[str] | None = None, **extra: Any) -> NoReturn:  # type: ignore[override]
        """Run one command and end the process with its exit code."""
        given = list(sys.argv[1:] if args is None else args)
        extra["standalone_mode"] = False
        extra.setdefault("prog_name", "bizq")
        try:
            code = super().main(args=given, **extra)
        except BrokenPipeError:  # the reader of our output has ended, as `head` does
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(FAILED)
        except (click.Abort, KeyboardInterrupt):
            sys.exit(INTERRUPTED)
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message())
            sys.exit(0)
        except (click.ClickException, OSError) as error:
            refused = failure(error)
            if "--json" in given:
                click.echo(json.dumps(refused.value()))
            for line in refused.lines():
                click.echo(f"bizq: {line}", err=True)
            sys.exit(refused.code)
        sys.exit(code if isinstance(code, int) else 0)


def failure(error: Exception) -> Failure:
    """The message of an error: the cause, and the next step."""
    if isinstance(error, Failure):
        return error
    if isinstance(error, click.UsageError):
        path = error.ctx.command_path if error.ctx else "bizq"
        return Failure(f"{error.format_message().rstrip('.')}: see `{path} --help`", code=USAGE)
    if isinstance(error, click.ClickException):
        return Failure(error.format_message(), code=error.exit_code)
    if isinstance(error, BadInput):
        return Failure(str(error), error.problems)
    if isinstance(error, Unavailable):
        return Failure(f"{error}: run {command('doctor')} to diagnose")
    if isinstance(error, PortError):
        return Failure(f"the database refused this ({error}): run {command('doctor')} to diagnose")
    if isinstance(error, OSError):
        return Failure(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    return Failure(str(error))


def target_options(run: Callable[..., Any]) -> Callable[..., Any]:
    """`--target`, `--key` and `--key-file`.  The program has them and each command has them; the command's come
    first."""
    for option in (
        click.option(
            "--key-file",
            "target_key_file",
            type=click.Path(path_type=Path, exists=True, dir_okay=False),
            help="The file that holds the API key for --target.",
        ),
        click.option(
            "--key",
            "target_key",
            metavar="KEY",
            help="The API key for --target.  Other users of this machine can see it: prefer BIZQ_KEY or --key-file.",
        ),
        click.option(
            "--target",
            "target_url",
            metavar="URL",
            help="Ask the worker at this address over HTTP, in place of a data directory; also BIZQ_TARGET.",
        ),
    ):
        run = option(run)
    return run


@click.command(
    cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@target_options
def bizq(**_target: object) -> None:
    """Gets tasks done by AI models and by people.

    In the options, `org` is short for organization."""
