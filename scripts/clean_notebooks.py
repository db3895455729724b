#!/usr/bin/env python3
"""Notebooks as git keeps them: no outputs, no execution counts, no traces of who ran them where.

Cell ids, tags and all other metadata stay.

Exit codes: 0 clean (or cleaned), 1 `--check` found files to clean, 2 nothing to look at or not a notebook.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.validator import iter_validate

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"

# Written by papermill, by ipywidgets and by JupyterLab's timing and trust, at each run.
VOLATILE_METADATA = ("papermill", "widgets", "signature")
VOLATILE_CELL_METADATA = ("papermill", "execution", "ExecuteTime", "trusted")


def clean_cell(cell: NotebookNode) -> NotebookNode:
    """The cell without what a run leaves in it."""
    cleaned = deepcopy(cell)
    for name in VOLATILE_CELL_METADATA:
        cleaned.metadata.pop(name, None)
    if cleaned.cell_type == "code":
        cleaned.outputs = []
        cleaned.execution_count = None
    return cleaned


def clean_notebook(notebook: NotebookNode) -> NotebookNode:
    """The notebook without what a run leaves in it; the one given stays as it is."""
    cleaned = deepcopy(notebook)
    cleaned.cells = [clean_cell(cell) for cell in notebook.cells]
    for name in VOLATILE_METADATA:
        cleaned.metadata.pop(name, None)
    cleaned.metadata.get("language_info", {}).pop("version", None)
    return cleaned


def read_notebook(path: Path) -> NotebookNode:
    """The notebook as it is in the file, nothing repaired.

    Errors  ValueError when it is not valid in format 4.5, the first with cell ids, or repeats an id
    """
    try:
        notebook: NotebookNode = nbformat.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise ValueError(f"{path}: not a notebook: {error}") from error
    for problem in iter_validate(notebook, version=4, version_minor=5):
        raise ValueError(f"{path}: not a notebook of format 4.5: {problem.message[:200]}")
    repeated = [name for name, times in Counter(cell.id for cell in notebook.cells).items() if times > 1]
    if repeated:
        raise ValueError(f"{path}: cell ids are used twice: {', '.join(sorted(repeated))}")
    return notebook


def cleaned_text(path: Path) -> str:
    """What the file should hold."""
    text: str = nbformat.writes(clean_notebook(read_notebook(path)))
    return text + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Clean the notebooks, or with `--check` name those that need it."""
    parser = argparse.ArgumentParser(description="Clear outputs, execution counts and volatile metadata.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 naming unclean files")
    parser.add_argument("paths", nargs="*", type=Path, help="notebooks; without any, all in notebooks/")
    arguments = parser.parse_args(argv)

    paths = arguments.paths or sorted(NOTEBOOKS.glob("*.ipynb"))
    if not paths:
        print(f"no notebooks in {NOTEBOOKS}", file=sys.stderr)
        return 2
    try:
        unclean = {path: text for path in paths if (text := cleaned_text(path)) != path.read_text("utf-8")}
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    for path, text in unclean.items():
        if arguments.check:
            print(f"{path}: not clean; run `make format`", file=sys.stderr)
        else:
            path.write_text(text, encoding="utf-8")
            print(f"{path}: cleaned", file=sys.stderr)
    return 1 if arguments.check and unclean else 0


if __name__ == "__main__":
    sys.exit(main())
