"""docs/cli.md is what the commands say of themselves, and asking them is quick."""

import subprocess
import sys
from pathlib import Path

import pytest

import cli_docs
from gatebook.cli import app

SLOW = ("pandas", "numpy", "sqlalchemy", "matplotlib", "psycopg", "nbformat", "papermill", "IPython")


def names() -> list[str]:
    """Commands in their order, then groups, each followed by its own commands."""
    found = [command.name or command.callback.__name__ for command in app.registered_commands if command.callback]
    for group in app.registered_groups:
        assert group.typer_instance is not None
        inner = [command.callback.__name__ for command in group.typer_instance.registered_commands if command.callback]
        found += [str(group.name), *(f"{group.name} {name}" for name in inner)]
    return found


def test_the_page_is_fresh(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli_docs.main(["--check"]) == 0, capsys.readouterr().err


def test_every_command_and_option_is_on_the_page() -> None:
    text = cli_docs.PAGE.read_text("utf-8")
    paths = [path for path, _ in cli_docs.helps()]

    assert paths == ["gatebook", *(f"gatebook {name}" for name in names())]
    for path, shown in cli_docs.helps():
        assert f"\n## {path}\n" in text
        assert f"Usage: {path} " in shown
        assert shown.strip() in text


def test_every_command_and_option_has_a_help_text() -> None:
    for path, shown in cli_docs.helps():
        options = shown.partition("Options:\n")[2].partition("\n\n")[0]
        assert len(shown.split("\n\n")) >= 3, f"{path} does not say what it does"
        for line in options.splitlines():
            name, _, text = line.strip().partition("  ")
            assert not name.startswith("--") or text.strip(), f"{path} {name} has no help"


def test_the_exit_codes_are_on_the_page() -> None:
    text = cli_docs.PAGE.read_text("utf-8")

    assert "Exit codes: 0 green, 1 a gate is red, 2 could not tell or wrong use, 130 and 143 interrupted." in text


@pytest.mark.parametrize("before", [pytest.param(None, id="missing"), pytest.param("# Old\n", id="stale")])
def test_a_stale_page_is_named_and_then_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], before: str | None
) -> None:
    path = tmp_path / "cli.md"
    monkeypatch.setattr(cli_docs, "PAGE", path)
    if before is not None:
        path.write_text(before, encoding="utf-8")

    assert cli_docs.main(["--check"]) == 1
    assert capsys.readouterr().err == f"{path}: stale; run scripts/cli_docs.py\n"
    assert (path.read_text("utf-8") if path.exists() else None) == before
    assert cli_docs.main([]) == 0
    assert cli_docs.main(["--check"]) == 0


def test_a_new_command_makes_the_page_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    def extra() -> None:
        """Something new."""

    monkeypatch.setattr(app, "registered_commands", list(app.registered_commands))
    app.command()(extra)

    assert cli_docs.main(["--check"]) == 1


def test_the_width_of_the_terminal_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERMINAL_WIDTH", "40")

    assert cli_docs.page() == cli_docs.PAGE.read_text("utf-8")


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"]], ids=" ".join)
def test_help_does_not_wait_for_what_it_does_not_need(arguments: list[str]) -> None:
    script = (
        "import atexit, sys\n"
        f"sys.argv = ['gatebook', *{arguments!r}]\n"
        f"atexit.register(lambda: print('loaded:', sorted(sys.modules.keys() & {set(SLOW)!r})))\n"
        "from gatebook.cli import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert "Usage: gatebook" in done.stdout
    assert done.stdout.splitlines()[-1] == "loaded: []"
    assert done.stderr == ""
