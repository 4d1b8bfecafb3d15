"""Command lines of the runtime commands, parsed without a library: engines call them several times a container.

The rules are runc's (urfave/cli): options before the arguments, ``--name value``, ``--name=value`` and ``-n value``; one
dash is as good as two; where a command's arguments are its own, options may follow them.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

Values = dict[str, Any]


class UsageError(Exception):
    """What is wrong with a command line, in one line."""


class Opt(NamedTuple):
    """An option. ``kind``: "str", "int", "flag" or "list"; ``names`` without dashes, the first is the key."""

    names: tuple[str, ...]
    kind: str
    help: str
    default: Any = None
    choices: tuple[str, ...] = ()
    metavar: str = "VALUE"


class Cmd(NamedTuple):
    """A command: ``where`` is "module:function", called with (globals, values, arguments)."""

    where: str
    help: str
    opts: tuple[Opt, ...] | None  # None: whatever is given
    args: str = "ID"
    least: int = 1
    most: int | None = 1
    needs: str = "a container id"  # what is missing when there are too few


HELP: Final = Opt(("help", "h"), "flag", "Show this message.")


def opt(names: str, kind: str, help: str, default: Any = None, **more: Any) -> Opt:
    """``names`` separated by commas."""
    if default is None:
        default = {"str": "", "int": None, "flag": False, "list": ()}[kind]
    return Opt(tuple(names.split(",")), kind, help, default, **more)


def parse(opts: tuple[Opt, ...], argv: list[str], mixed: bool = False) -> tuple[Values, list[str]]:
    """(values by first name with _ for -, the arguments). ``mixed``: options may follow arguments. Raises UsageError."""
    table = {n: o for o in (*opts, HELP) for n in o.names}
    values: Values = {key(o): o.default for o in (*opts, HELP)}
    i = 0
    args: list[str] = []
    while i < len(argv):
        word = argv[i]
        if word == "--":
            i += 1
            break
        if word[:1] != "-" or word == "-":
            if not mixed:
                break
            args.append(word)
            i += 1
            continue
        i += 1
        name, eq, value = word.lstrip("-").partition("=")
        o = table.get(name)
        if o is None:
            raise UsageError(f"no such option: {word.partition('=')[0]}")
        if o.kind == "flag":
            values[key(o)] = flag(name, value) if eq else True
            continue
        if not eq:
            if i == len(argv):
                raise UsageError(f"option --{name} needs a value")
            value = argv[i]
            i += 1
        _store(values, o, name, value)
    return values, args + argv[i:]


def key(o: Opt) -> str:
    return o.names[0].replace("-", "_")


def flag(name: str, value: str) -> bool:
    if value.lower() not in ("true", "false", "1", "0", "t", "f"):
        raise UsageError(f"option --{name}: `{value}` is neither true nor false")
    return value.lower() in ("true", "1", "t")


def _store(values: Values, o: Opt, name: str, value: str) -> None:
    if "\0" in value:
        raise UsageError(f"option --{name}: a NUL in the value")
    if o.choices and value not in o.choices:
        raise UsageError(f"option --{name}: `{value}` is not one of {', '.join(o.choices)}")
    if o.kind == "int":
        try:
            values[key(o)] = int(value, 0)
        except ValueError:
            raise UsageError(f"option --{name}: `{value}` is not a number") from None
    elif o.kind == "list":
        values[key(o)] = (*values[key(o)], value)
    else:
        values[key(o)] = value


def usage(prog: str, name: str, cmd: Cmd) -> str:
    """The text of ``--help``."""
    opts = cmd.opts or ()
    head = f"Usage: {prog} {name}{' [OPTIONS]' if opts else ''} {cmd.args}".rstrip()
    return f"{head}\n\n  {cmd.help}\n\nOptions:\n{options_text((*opts, HELP))}"


def options_text(opts: tuple[Opt, ...]) -> str:
    rows = []
    for o in opts:
        names = ", ".join(f"-{n}" if len(n) == 1 else f"--{n}" for n in sorted(o.names, key=len))
        if o.kind != "flag":
            names += " " + ("[" + "|".join(o.choices) + "]" if o.choices else o.metavar)
        rows.append((names, o.help))
    width = min(max(len(n) for n, _ in rows), 38)
    return "".join(
        f"  {n:<{width}}  {h}\n" if len(n) <= width else f"  {n}\n  {'':<{width}}  {h}\n"
        for n, h in rows
    )
