"""scripts/clean_notebooks.py on real notebook files."""

from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

import clean_notebooks


def executed_notebook() -> NotebookNode:
    """As JupyterLab and papermill leave it after a run."""
    return new_notebook(
        cells=[
            new_markdown_cell("# Tenants – größer", id="title", metadata={"tags": ["prose"]}),
            new_code_cell(
                'database = "embedded"',
                id="parameters",
                execution_count=1,
                metadata={
                    "tags": ["parameters"],
                    "jupyter": {"source_hidden": True},
                    "papermill": {"status": "completed"},
                    "execution": {"iopub.status.busy": "2026-01-01T00:00:00Z"},
                    "trusted": True,
                },
            ),
            new_code_cell(
                "1 + 1",
                id="gate-4-2",
                execution_count=2,
                outputs=[new_output("execute_result", {"text/plain": "2"}, execution_count=2)],
            ),
        ],
        metadata={
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
            "language_info": {"name": "python", "version": "3.11.7"},
            "papermill": {"duration": 1.5},
            "widgets": {"application/vnd.jupyter.widget-state+json": {"state": {}}},
            "gatebook": {"phase": "4"},
        },
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "04_tenants.ipynb"
    nbformat.write(executed_notebook(), file)
    return file


def test_outputs_and_traces_go(path: Path) -> None:
    assert clean_notebooks.main([str(path)]) == 0
    text = path.read_text("utf-8")
    cleaned = nbformat.reads(text, as_version=4)

    assert [cell.outputs for cell in cleaned.cells[1:]] == [[], []]
    assert [cell.execution_count for cell in cleaned.cells[1:]] == [None, None]
    for trace in ("papermill", "iopub", "trusted", "widget", "3.11.7"):
        assert trace not in text


def test_ids_tags_and_other_metadata_stay(path: Path) -> None:
    clean_notebooks.main([str(path)])
    cleaned = nbformat.read(path, as_version=4)

    assert [cell.id for cell in cleaned.cells] == ["title", "parameters", "gate-4-2"]
    assert [cell.source for cell in cleaned.cells] == [cell.source for cell in executed_notebook().cells]
    assert [cell.metadata for cell in cleaned.cells] == [
        {"tags": ["prose"]},
        {"tags": ["parameters"], "jupyter": {"source_hidden": True}},
        {},
    ]
    assert cleaned.metadata == {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
        "language_info": {"name": "python"},
        "gatebook": {"phase": "4"},
    }
    assert (cleaned.nbformat, cleaned.nbformat_minor) == (4, 5)


def test_letters_stay_readable(path: Path) -> None:
    clean_notebooks.main([str(path)])

    assert "Tenants – größer" in path.read_text("utf-8")


def test_cleaning_twice_changes_nothing(path: Path) -> None:
    clean_notebooks.main([str(path)])
    once = path.read_bytes()
    clean_notebooks.main([str(path)])

    assert path.read_bytes() == once
    assert once.endswith(b"}\n")


def test_check_names_the_file_and_leaves_it(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = path.read_bytes()

    assert clean_notebooks.main(["--check", str(path)]) == 1
    assert capsys.readouterr().err == f"{path}: not clean; run `make format`\n"
    assert path.read_bytes() == before


def test_check_accepts_what_was_cleaned(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clean_notebooks.main([str(path)])
    capsys.readouterr()

    assert clean_notebooks.main(["--check", str(path)]) == 0
    assert capsys.readouterr().err == ""


def test_without_paths_it_takes_the_folder(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(clean_notebooks, "NOTEBOOKS", path.parent)

    assert clean_notebooks.main(["--check"]) == 1
    assert path.name in capsys.readouterr().err


def test_no_notebooks_is_not_clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clean_notebooks, "NOTEBOOKS", tmp_path)

    assert clean_notebooks.main(["--check"]) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("no json", "not a notebook", id="not json"),
        pytest.param("{}", "not a notebook of format 4.5", id="not a notebook"),
        pytest.param(
            '{"nbformat": 4, "nbformat_minor": 4, "metadata": {}, "cells": []}',
            "not a notebook of format 4.5",
            id="no cell ids yet",
        ),
        pytest.param(
            '{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": ['
            '{"cell_type": "markdown", "id": "a", "metadata": {}, "source": []},'
            '{"cell_type": "markdown", "id": "a", "metadata": {}, "source": []}]}',
            "cell ids are used twice: a",
            id="an id twice",
        ),
    ],
)
def test_what_is_no_notebook_is_named_and_left(
    text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "broken.ipynb"
    path.write_text(text)

    assert clean_notebooks.main([str(path)]) == 2
    assert f"{path}: {message}" in capsys.readouterr().err
    assert path.read_text() == text


def test_one_broken_notebook_leaves_the_others_as_they_are(path: Path) -> None:
    before = path.read_bytes()

    assert clean_notebooks.main([str(path), str(path.with_name("absent.ipynb"))]) == 2
    assert path.read_bytes() == before
