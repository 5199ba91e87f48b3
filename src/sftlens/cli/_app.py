"""The command line: what all commands share."""

from __future__ import annotations

import atexit
import errno
import gc
import signal
import sys
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer
from pydantic import BaseModel, ValidationError

from sftlens import __version__
from sftlens.errors import UserError, first_line
from sftlens.texts import json_text, printable

app = typer.Typer(
    name="sftlens",
    help="See what fine-tuning did to what a language model knows, and give it back.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]

_SMALLER = "take smaller numbers or fewer facts, or a machine with more of it"
_USERS_ERRNOS = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EACCES: "choose a place you may use",
    errno.EPERM: "choose a place you may use",
    errno.EROFS: "choose a place you may write to",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOTDIR: "choose a folder",
}


def _print_version(asked: bool) -> None:
    if asked:
        print(__version__)  # noqa: T201
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    pass


def setting(model: type[BaseModel], field: str, *flags: str) -> Any:
    """The option of a settings field: its help and default come from the settings class."""
    info = model.model_fields[field]
    return typer.Option(*flags, help=info.description, show_default=True)


def default(model: type[BaseModel], field: str) -> Any:
    """The default of a settings field."""
    return model.model_fields[field].default


def checked(make: Callable[..., Any], /, **values: Any) -> Any:
    """Make a settings object; a value out of its range is the user's to mend."""
    try:
        return make(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        message = first["msg"][0].lower() + first["msg"][1:]
        raise UserError(f"{name}: {first['input']!r} is refused, {message}") from None


def emit(result: Mapping[str, Any], as_json: bool, show: Callable[[], None]) -> None:
    """Print a result: as one JSON object, or for people."""
    if as_json:
        sys.stdout.write(json_text(result))
    else:
        show()


def run() -> NoReturn:
    """Run the command line.

    Exits with 0 when done, with 2 and one line on standard error when the user can fix it, with
    130 on Ctrl-C, and with 1 and a traceback when it is our bug.
    """
    # Importing torch and transformers makes a million objects that live to the end: looking
    # through them again and again for garbage, at the end too, took two seconds of every command.
    gc.set_threshold(100_000, 20, 100)
    atexit.register(gc.freeze)
    interrupts = _Interrupts()
    try:
        code = app(standalone_mode=False) or 0
        if code == 130:  # typer's own answer to Ctrl-C
            raise KeyboardInterrupt
        sys.stdout.flush()  # a full disk shows here, and not when nobody can tell of it
        sys.exit(code)
    except UserError as error:
        _refuse(str(error))
    except KeyboardInterrupt:
        interrupts.leave()
    except Exception as error:
        if interrupts.came or type(error).__name__ == "Abort":
            interrupts.leave()
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
            _refuse(f"does not fit into memory ({first_line(error)}); {_SMALLER}")
        if isinstance(error, OSError) and error.errno in _USERS_ERRNOS:
            remedy = _USERS_ERRNOS[error.errno]
            _refuse(f"{error.filename or 'writing'}: {error.strerror}; {remedy}")
        usage = getattr(error, "format_message", None)
        if usage is None:
            raise
        if type(error).__name__ == "NoArgsIsHelpError":
            sys.stdout.write(f"{usage()}\n")
            sys.exit(0)
        _refuse(f"{usage()}; see `sftlens --help`")


class _Interrupts:
    """Ctrl-C as ever, remembered: a library that is being imported may make it another error."""

    def __init__(self) -> None:
        self.came = False
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._interrupt)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self.came = True
        signal.default_int_handler(number, frame)

    def leave(self) -> NoReturn:
        """Say so, and end."""
        sys.stderr.write("interrupted; the same command goes on from what was finished\n")
        sys.exit(130)


def _refuse(message: str) -> NoReturn:
    line = printable(" ".join(message.split()))
    sys.stderr.write(f"sftlens: {line}\n")
    sys.exit(2)
