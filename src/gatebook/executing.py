"""One notebook through papermill, with a record of every cell as it runs.

papermill marks every cell "completed" after a killed kernel, exits 0 after sys.exit(0), and skips tagged cells in
silence. So what ran is told by the journal: a cell counts as run only when the kernel said so.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat
import papermill
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbformat.reader import NotJSONError
from papermill.engines import papermill_engines
from papermill.exceptions import PapermillException, PapermillExecutionError

from gatebook.errors import ConfigurationError, PhaseRed
from gatebook.journal import Journal
from gatebook.project import OUTPUTS_VARIABLE, PROJECT_VARIABLE, Project
from gatebook.runs import RunFolder

Tick = Callable[[], None]


def check_notebooks(notebooks: Sequence[str], *, project: Project, engine: str) -> None:
    """Find out that the notebooks can be read and that papermill knows the engine, before anything runs.

    Errors  ConfigurationError when not
    """
    try:
        papermill_engines.get_engine(engine)
    except PapermillException:
        raise ConfigurationError(
            f"papermill has no engine {engine!r}", where="parameter engine", next_step="use nbclient, or install it"
        ) from None
    for name in notebooks:
        path = project.notebooks / f"{name}.ipynb"
        try:
            nbformat.read(path, as_version=4)
        except (OSError, NotJSONError, nbformat.ValidationError) as error:
            raise ConfigurationError(
                f"notebook {name} cannot be read: {str(error).splitlines()[0]}",
                where=str(path),
                next_step="restore the file, or mend params/gates.yaml if it names the wrong one",
            ) from error


def execute(
    notebook: str,
    *,
    project: Project,
    folder: RunFolder,
    parameters: Mapping[str, Any],
    engine: str,
    tick: Tick,
) -> str:
    """Run one notebook into the run's folder; the problem that ended it early, or "".

    tick  called after every cell, for whoever shows progress
    """
    journal = folder.journal
    source = project.notebooks / f"{notebook}.ipynb"
    output = folder.notebooks / f"{notebook}.ipynb"
    cells = [cell.id for cell in nbformat.read(source, as_version=4).cells if _is_code(cell)]
    journal.write("notebook_started", notebook=notebook, cells=cells)
    started = time.perf_counter()
    problem = ""
    try:
        papermill.execute_notebook(
            source,
            output,
            parameters={name: value for name, value in parameters.items() if name in _declared(source)},
            engine_name=engine,
            kernel_name="python3",
            progress_bar=False,
            cwd=project.root,
            extra_arguments=["--IPKernelApp.log_level=50"],  # else it reports loopback TCP and interruptions
            on_cell_execute=_CellHook(journal, notebook, "cell_started", set(cells), tick),
            on_cell_executed=_CellHook(journal, notebook, "cell_finished", set(cells), tick),
        )
    except (PapermillExecutionError, CellExecutionError, DeadKernelError) as error:
        problem = _first_line(error)
    except BaseException:
        journal.write("notebook_finished", notebook=notebook, seconds=_since(started), problem="interrupted")
        raise
    journal.write("notebook_finished", notebook=notebook, seconds=_since(started), problem=problem)
    return problem


def prepare_environment(project: Project) -> None:
    """What the kernels need to find the project, and the kernel of this very Python first."""
    os.environ[PROJECT_VARIABLE] = str(project.root)
    os.environ[OUTPUTS_VARIABLE] = str(project.outputs)
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"
    os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"


def tell_the_truth(notebook: Path, states: Mapping[str, str]) -> None:
    """Write each cell's true state over what papermill left in the executed notebook, and no path of this machine."""
    if not notebook.exists():
        return
    node = nbformat.read(notebook, as_version=4)
    for cell in node.cells:
        if _is_code(cell) and "papermill" in cell.metadata:
            state = states.get(cell.id, "ran" if "injected-parameters" in cell.metadata.get("tags", []) else "not run")
            cell.metadata.papermill["status"] = {"ran": "completed", "not run": "pending"}.get(state, "failed")
            cell.metadata["gatebook"] = {"state": state}
    for name in {"input_path", "output_path"} & set(node.metadata.get("papermill", {})):
        node.metadata.papermill[name] = Path(node.metadata.papermill[name]).name
    temporary = notebook.with_suffix(".partial")
    nbformat.write(node, temporary)
    temporary.replace(notebook)


class _CellHook:
    """Writes one line for a cell; nbclient calls it by keyword."""

    def __init__(self, journal: Journal, notebook: str, event: str, cells: set[str], tick: Tick) -> None:
        self.journal, self.notebook, self.event, self.cells, self.tick = journal, notebook, event, cells, tick

    def __call__(self, *, cell: Any, execute_reply: Any = None, **_index: int) -> None:
        if cell.id in self.cells:  # not the cell that papermill adds
            status = {"status": execute_reply["content"]["status"]} if execute_reply else {}
            self.journal.write(self.event, notebook=self.notebook, cell=cell.id, **status)
        self.tick()


def _is_code(cell: Any) -> bool:
    return cell.cell_type == "code" and bool(cell.source.strip())


def _declared(source: Path) -> set[str]:
    return {parameter["name"] for parameter in papermill.inspect_notebook(str(source)).values()}


def _first_line(error: BaseException) -> str:
    if isinstance(error, DeadKernelError):
        return "the kernel died"
    if isinstance(error, PapermillExecutionError):
        return f"{error.ename}: {_as_line(str(error.evalue), whole=error.ename != PhaseRed.__name__)}"
    return str(error).splitlines()[0]


def _as_line(text: str, *, whole: bool) -> str:
    """The first line; as a whole, where and what next of an error of ours too."""
    first, *rest = text.splitlines() or [""]
    ours = [" ".join(line.split()) for line in rest if line.startswith(("  where: ", "  next: "))]
    return "; ".join([first, *ours] if whole else [first])


def _since(started: float) -> float:
    return round(time.perf_counter() - started, 3)
