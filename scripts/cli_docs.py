#!/usr/bin/env python3
"""docs/cli.md, from the help texts of the command line itself.

Exit codes: 0 written, or `--check` found it fresh; 1 `--check` found it stale or missing.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from typer.main import get_command

from gatebook.cli import app

PAGE = Path(__file__).resolve().parent.parent / "docs" / "cli.md"
WIDTH = 110  # of the help texts, whatever the terminal's

INTRODUCTION = """# Command line

What `gatebook --help` and `gatebook COMMAND --help` print. Written by `scripts/cli_docs.py`; a test fails when
it is stale.
"""


def helps(command: Any = None, parent: Any = None, name: str = "gatebook") -> Iterator[tuple[str, str]]:
    """Each command with its help as plain text: the whole first, then its commands in their order."""
    command = command or get_command(app)
    command.rich_markup_mode = None
    context = command.make_context(name, [], parent=parent, resilient_parsing=True, terminal_width=WIDTH)
    yield context.command_path, command.get_help(context)
    for inner, each in getattr(command, "commands", {}).items():
        yield from helps(each, context, inner)


def page() -> str:
    """What docs/cli.md should hold."""
    sections = [f"## {path}\n\n```text\n{text.strip()}\n```\n" for path, text in helps()]
    return "\n".join([INTRODUCTION, *sections])


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page, or with `--check` say whether it is stale."""
    parser = argparse.ArgumentParser(description="Write docs/cli.md from the commands' help.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when the page is stale")
    arguments = parser.parse_args(argv)
    text = page()
    if not arguments.check:
        PAGE.write_text(text, encoding="utf-8")
        return 0
    if PAGE.exists() and PAGE.read_text("utf-8") == text:
        return 0
    print(f"{PAGE}: stale; run scripts/cli_docs.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
