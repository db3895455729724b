"""The command line: parse, call one function, render, exit.

Exit codes: 0 green, 1 a gate is red, 2 could not tell or wrong use, 130 and 143 interrupted.
"""

import contextlib
import sys
import traceback
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gatebook.errors import ConfigurationError, GatebookError

if TYPE_CHECKING:
    import sqlalchemy as sa

    from gatebook.project import Project

HELP = """An interactive, notebook-driven schema audit workbook for PostgreSQL.

Exit codes: 0 green, 1 a gate is red, 2 could not tell or wrong use, 130 and 143 interrupted.
"""


class Format(StrEnum):
    text = "text"
    json = "json"
    github = "github"
    sarif = "sarif"


REFUSALS = ("42501", "42P01", "42883", "55P03", "57014", "53100", "25006")

app = typer.Typer(no_args_is_help=True, add_completion=False, help=HELP, pretty_exceptions_enable=False)

Params = Annotated[Path, typer.Option("--params", help="A params file: database, limits, scenario, sign-off.")]
DatabaseName = Annotated[
    str, typer.Option("--database", help='"embedded", or the name of a variable that holds a URL.')
]


def main() -> None:
    """The installed command; every error of ours is one message and an exit code."""
    try:
        app()
    except GatebookError as error:
        sys.stderr.write(f"gatebook: {error}\n")
        sys.exit(error.exit_code)
    except Exception as error:  # 1 would mean that a gate is red
        refused = _by_the_server(error)
        if refused:
            sys.stderr.write(f"gatebook: the database refused: {refused}\n")
            sys.exit(2)
        traceback.print_exc()
        sys.stderr.write("gatebook: this is a mistake in gatebook itself; nothing is proven\n")
        sys.exit(2)


def _by_the_server(error: Exception) -> str:
    """What PostgreSQL says where it lacked a privilege or an object; anything else would be a mistake of ours."""
    cause = getattr(error, "orig", None) or error
    state = getattr(cause, "sqlstate", None) or ""
    return f"{str(cause).splitlines()[0]} (SQLSTATE {state})" if state in REFUSALS else ""


@app.command()
def run(
    params: Params = Path("params/demo.yaml"),
    only: Annotated[str | None, typer.Option(help="Run this phase alone.")] = None,
    first: Annotated[str | None, typer.Option("--from", help="Start at this phase.")] = None,
    last: Annotated[str | None, typer.Option("--until", help="Stop after this phase.")] = None,
    database: Annotated[str | None, typer.Option(help="Use this database, not the one of the params file.")] = None,
) -> None:
    """Run the notebooks in order, stop at the first red phase, and leave a run folder in outputs/."""
    from gatebook import declarations
    from gatebook.project import Project
    from gatebook.run import Selection
    from gatebook.run import run as run_notebooks
    from gatebook.terminal import Console

    project = Project.find()
    parameters = declarations.load(declarations.RunParameters, params)
    if database is not None:
        parameters = parameters.model_copy(update={"database": database})
    console = Console()
    with console:
        selection = Selection(only=only, first=first, last=last)
        finished = run_notebooks(project, declarations.load_gates(project), parameters, selection, console)
    console.finished(finished)
    raise typer.Exit(finished.exit_code)


@app.command()
def scenario(
    database: DatabaseName = "embedded",
    tenants: Annotated[int, typer.Option(min=1, help="Tenants to make.")] = 4,
    days: Annotated[int, typer.Option(min=1, help="Days of activity, ending at --as-of.")] = 125,
    events_per_day: Annotated[int, typer.Option(min=1, help="Events a day of each tenant.")] = 200,
    seed: Annotated[int, typer.Option(help="The same seed and date make the same rows.")] = 20251115,
    as_of: Annotated[str, typer.Option(help="The last day, YYYY-MM-DD (UTC), or today.")] = "today",
    reset: Annotated[bool, typer.Option("--reset", help="Make the embedded database anew first.")] = False,
) -> None:
    """Fill an empty database with legacy rows at the revision before the first phase."""
    from gatebook import scenario as scenarios
    from gatebook.database import open_database
    from gatebook.declarations import ScenarioParameters
    from gatebook.project import Project
    from gatebook.terminal import Console

    wanted = ScenarioParameters(
        tenants=tenants, days=days, events_per_day=events_per_day, seed=seed, as_of=as_of, reset=reset
    )
    project = Project.find()
    opened = open_database(database, project=project, create=True)
    with contextlib.closing(opened), Console() as console:
        console.scenario_loaded(scenarios.load(opened, project, wanted, progress=console.scenario))


@app.command()
def refresh(
    views: Annotated[list[str] | None, typer.Argument(help="Materialized views; all of them unless named.")] = None,
    database: DatabaseName = "embedded",
    lock_timeout_ms: Annotated[int, typer.Option(min=1, metavar="MS", help="How long to wait for each lock.")] = 5_000,
    statement_timeout_ms: Annotated[
        int, typer.Option(min=1, metavar="MS", help="How long one view may take.")
    ] = 600_000,
    show_status: Annotated[
        bool, typer.Option("--status", help="Refresh nothing, show their age; exit code 1 when one failed last.")
    ] = False,
    schedule: Annotated[
        bool, typer.Option("--schedule", help="Refresh nothing, let pg_cron do it; without it, print crontab lines.")
    ] = False,
    unschedule: Annotated[
        bool, typer.Option("--unschedule", help="Refresh nothing, take their jobs away from pg_cron.")
    ] = False,
) -> None:
    """Refresh materialized views; one that fails keeps its contents, and the exit code is 1."""
    from gatebook import refresh as refreshing
    from gatebook import terminal
    from gatebook.database import open_database
    from gatebook.project import Project

    if show_status + schedule + unschedule > 1:
        raise ConfigurationError(
            "--status, --schedule and --unschedule exclude each other", where="gatebook refresh", next_step="give one"
        )
    project = Project.find()
    limits = {"lock_timeout_ms": lock_timeout_ms, "statement_timeout_ms": statement_timeout_ms}
    with contextlib.closing(open_database(database, project=project)) as opened:
        with opened.connect() as connection:
            wanted = refreshing.select(connection, views or [], with_jobs=unschedule)
            is_green = True
            if show_status:
                is_green = terminal.refresh_status(refreshing.status(connection), wanted)
            elif schedule:
                _schedule(connection, wanted, project=project, database=database, limits=limits)
            elif unschedule:
                terminal.unscheduled(refreshing.unschedule(connection, wanted))
            connection.commit()
        if not (show_status or schedule or unschedule):
            results = refreshing.refresh(opened, wanted, **limits)
            with opened.connect() as connection:
                is_green = terminal.refreshed(results, refreshing.status(connection))
    raise typer.Exit(0 if is_green else 1)


def _schedule(
    connection: "sa.Connection", views: list[str], *, project: "Project", database: str, limits: dict[str, int]
) -> None:
    """By pg_cron where it can be used, else as text: nobody's crontab is written."""
    from gatebook import refresh as refreshing
    from gatebook import terminal
    from gatebook.contract import load_contract

    declared = load_contract(project).views if (project.params / "api_contract.yaml").exists() else {}
    entries = {each: declared[each].schedule if each in declared else refreshing.DEFAULT_SCHEDULE for each in views}
    problem = refreshing.no_pg_cron(connection)
    if problem:
        terminal.crontab(problem, refreshing.crontab(project, database, entries, **limits))
    else:
        terminal.scheduled(refreshing.schedule(connection, entries, **limits))


@app.command(name="lint-migration")
def lint_migration(
    paths: Annotated[list[Path], typer.Argument(help="Migrations, or folders of them.", show_default=False)],
    output: Annotated[
        Format, typer.Option("--format", metavar="FORMAT", help="text, json, github or sarif.")
    ] = Format.text,
    strict: Annotated[bool, typer.Option("--strict", help="A blemish of an acknowledgement fails too.")] = False,
) -> None:
    """Judge migrations without running them: what would be lost, narrowed or unguarded. Exit code 1 when one fails."""
    from gatebook.safety.linting import lint
    from gatebook.safety.report import FORMATS

    judgements = lint(paths, strict=strict)
    if not judgements:
        raise ConfigurationError("no migration found", where=", ".join(map(str, paths)), next_step="name a file")
    sys.stdout.write(FORMATS[output.value](judgements) + "\n")
    raise typer.Exit(0 if all(each.passes for each in judgements) else 1)


@app.command(name="validate-phase")
def validate_phase(
    phase: Annotated[str, typer.Argument(help="0 ownership, 1 migration system, 2 style guide, 3 contract mapping.")],
    database: DatabaseName = "embedded",
) -> None:
    """Run a phase validator; 2 and 3 look at the live catalog of a database. Exit code 2 when it cannot tell."""
    from gatebook import governance, governance_catalog, terminal
    from gatebook.project import Project

    project = Project.find()
    if phase in governance.CHECKS:
        verdicts = [check(project) for check in governance.CHECKS[phase]]
    elif phase in governance_catalog.CHECKS:
        verdicts = governance_catalog.examined(project, database, phase)
    else:
        raise ConfigurationError(f"there is no phase {phase}", where="gatebook validate-phase", next_step="use 0 to 3")
    raise typer.Exit(terminal.verdicts(f"Phase {phase}", verdicts))


@app.command()
def rehearse(
    revision: Annotated[str | None, typer.Argument(help="The revision to rehearse.")] = None,
    whole_chain: Annotated[bool, typer.Option("--all", help="Rehearse every revision, from the first.")] = False,
) -> None:
    """Run a migration on a throw-away copy with rows of the scenario, and show what it really did.

    Exit code 1 when something was lost or changed that the validator did not foretell.
    """
    from gatebook import rehearsal
    from gatebook.project import Project
    from gatebook.terminal import Console

    if (revision is None) != whole_chain:
        raise ConfigurationError("what to rehearse?", where="gatebook rehearse", next_step="give a revision, or --all")
    with Console() as console:
        project = Project.find()
        only = [revision] if revision is not None else []
        predict = rehearsal.foretold(project)
        found = rehearsal.rehearse_chain(project, only=only, predict=predict, progress=console.rehearsal)
        console.rehearsed(found)
    raise typer.Exit(rehearsal.exit_code(found))


@app.command()
def status(database: DatabaseName = "embedded") -> None:
    """Show the last run, the database's revision and which phases are proven in it."""
    from gatebook import terminal
    from gatebook.project import Project

    terminal.status(Project.find(), database)


# -- evidence: what a run left, and whether it still is what it was

evidence = typer.Typer(no_args_is_help=True, help="Sign the evidence of a run, verify it, compare two runs.")
runs = typer.Typer(invoke_without_command=True, help="List the finished runs; `prune` removes old ones.")
app.add_typer(evidence, name="evidence")
app.add_typer(runs, name="runs")

RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished run.")]


@evidence.command()
def keygen(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="The private key; FILE.pub beside it.")],
) -> None:
    """Make an Ed25519 key pair to sign with; keep the private key out of the project."""
    from gatebook.evidence import keys

    public, keyid = keys.keygen(path)
    typer.echo(f"private key: {path}\npublic key:  {public}\nkey id:      {keyid}")


@evidence.command()
def sign(
    run: RunPath = Path("outputs/latest"),
    key: Annotated[
        Path | None, typer.Option("--key", help="A private key; else that of the variable GATEBOOK_SIGNING_KEY.")
    ] = None,
) -> None:
    """Add a signature to a finished run that holds; a second signer adds another one."""
    from gatebook.evidence import keys, signing

    keyid = signing.sign(run, keys.signer(key))
    typer.echo(f"signed by {keyid}")


@evidence.command()
def verify(
    run: RunPath = Path("outputs/latest"),
    key: Annotated[
        list[Path] | None, typer.Option("--key", help="A public key that signed; once for each signer.")
    ] = None,
    threshold: Annotated[
        int | None, typer.Option(min=1, help="How many of these keys must have signed; all, unless given.")
    ] = None,
) -> None:
    """Tell whether a run is what it was: from its folder alone, without network or database.

    Exit codes: 0 it holds, also when it is unsigned and no --key was given; 1 something was changed, is missing
    or does not fit; 2 could not tell: signed, and no --key was given, or no finished run.
    """
    from gatebook.evidence import keys, said
    from gatebook.evidence import verify as verifying

    found = verifying.verify(run, keys=[keys.public_key(path) for path in key or []], threshold=threshold)
    typer.echo("\n".join(said.report(found)))
    raise typer.Exit(found.exit_code)


@evidence.command()
def diff(before: RunPath, after: RunPath) -> None:
    """Tell what changed from one run to another; exit code 1 when a verdict did."""
    from gatebook.evidence import diff as comparing
    from gatebook.evidence import said

    found = comparing.diff(before, after)
    typer.echo("\n".join(said.changes(found)))
    raise typer.Exit(1 if any(each["kind"] == "verdict" for each in found) else 0)


@runs.callback()
def list_runs(context: typer.Context) -> None:
    """List the finished runs, oldest first; `prune` removes old ones."""
    from gatebook.evidence import said
    from gatebook.project import Project

    if context.invoked_subcommand is None:
        typer.echo("\n".join(said.listed(Project.find())) or "No finished run in outputs/.")


@runs.command()
def prune(
    keep: Annotated[int, typer.Option(min=0, help="How many of the newest runs stay.")],
    with_signed: Annotated[bool, typer.Option("--with-signed", help="Remove old signed runs too.")] = False,
) -> None:
    """Remove old finished runs: never the latest, and signed ones only when told to."""
    from gatebook import runs as folders
    from gatebook.project import Project

    removed = folders.prune(Project.find(), keep=keep, with_signed=with_signed)
    typer.echo("\n".join(f"removed {path.name}" for path in removed) or "nothing to remove")


if __name__ == "__main__":
    main()
