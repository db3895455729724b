"""Folders of runs: no evidence before they are complete, and never half a file."""

from pathlib import Path

import pytest

from gatebook import runs
from gatebook.errors import ConfigurationError, JournalFailed
from gatebook.project import Project


@pytest.fixture
def mine(tmp_path: Path) -> Project:
    return Project.at(tmp_path, outputs=tmp_path / "outputs")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_is_incomplete_until_it_is_finished(mine: Project) -> None:
    folder = runs.create(mine)
    folder.journal.write("run_started")

    assert names(mine.outputs) == [f"{folder.run_id}.incomplete"]
    assert runs.latest(mine) is None
    assert folder.path.stat().st_mode & 0o077 == 0
    final = folder.finish()
    assert final == mine.outputs / folder.run_id
    assert names(final) == ["data", "html", "journal.jsonl", "notebooks", "plans"]
    assert names(mine.outputs) == [folder.run_id, "latest"]


def test_latest_points_to_the_newest_finished_run(mine: Project) -> None:
    first, second, third = (runs.create(mine) for _ in range(3))
    first.finish()
    seen = [runs.latest(mine)]
    link = mine.outputs / "latest"
    inode = link.lstat().st_ino
    second.finish()

    assert [*seen, runs.latest(mine)] == [mine.outputs / first.run_id, mine.outputs / second.run_id]
    assert link.is_symlink()
    assert not link.readlink().is_absolute()  # the folder may be moved as a whole
    assert link.lstat().st_ino != inode  # replaced, never taken away
    assert names(mine.outputs) == sorted([first.run_id, second.run_id, f"{third.run_id}.incomplete", "latest"])


def test_a_link_to_a_run_that_was_removed_is_no_run(mine: Project) -> None:
    final = runs.create(mine).finish()
    final.rename(final.with_name("elsewhere"))

    assert runs.latest(mine) is None


def test_a_kernel_joins_the_run_that_is_being_made(mine: Project) -> None:
    folder = runs.create(mine)

    assert runs.open_run(mine, folder.run_id) == folder


@pytest.mark.parametrize("run_id", ["20251115T000000Z-abcdef", "../outside", "latest"])
def test_a_kernel_cannot_join_a_run_that_is_not_being_made(mine: Project, run_id: str) -> None:
    runs.create(mine).finish()
    with pytest.raises(ConfigurationError, match="there is no unfinished run"):
        runs.open_run(mine, run_id)


def test_a_finished_run_is_not_written_again(mine: Project) -> None:
    folder = runs.create(mine)
    folder.finish()
    with pytest.raises(ConfigurationError, match="there is no unfinished run"):
        runs.open_run(mine, folder.run_id)


def test_a_session_of_ones_own_is_no_run(mine: Project) -> None:
    session = runs.open_run(mine, "")

    assert names(mine.outputs) == [f"{session.run_id}.session"]
    assert runs.latest(mine) is None


def test_run_ids_differ_and_sort_by_time(mine: Project) -> None:
    ids = [runs.create(mine).run_id for _ in range(20)]

    assert len(set(ids)) == 20
    assert [name.partition("-")[0] for name in ids] == sorted(name.partition("-")[0] for name in ids)


def test_an_outputs_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    project = Project.at(tmp_path, outputs=tmp_path / "file" / "outputs")
    for act in (runs.probe_outputs, runs.create):
        with pytest.raises(ConfigurationError, match="the outputs folder cannot be written: Not a directory"):
            act(project)


def test_probing_leaves_nothing(mine: Project) -> None:
    runs.probe_outputs(mine)

    assert names(mine.outputs) == []


# -- files


def test_a_file_is_written_whole_over_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    runs.write_whole(path, "old")
    runs.write_whole(path, "größe\n")

    assert path.read_bytes() == "größe\n".encode()
    assert names(tmp_path) == ["results.json"]


@pytest.mark.parametrize(
    "text", [pytest.param("half\udc80", id="no such letter"), pytest.param(None, id="no text at all")]
)
def test_a_file_that_cannot_be_written_leaves_the_old_one_and_nothing_else(tmp_path: Path, text: str) -> None:
    path = tmp_path / "results.json"
    runs.write_whole(path, "old")
    with pytest.raises((UnicodeEncodeError, TypeError)):
        runs.write_whole(path, text)

    assert path.read_text() == "old"
    assert names(tmp_path) == ["results.json"]


def test_a_file_that_cannot_be_renamed_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(IsADirectoryError):
        runs.write_whole(tmp_path / "taken", "text")

    assert names(tmp_path) == ["taken"]


def test_what_the_file_system_refuses_becomes_a_message(mine: Project) -> None:
    folder = runs.create(mine)
    with pytest.raises(JournalFailed) as caught, runs.writing(folder):
        runs.write_whole(folder.path / "absent" / "file", "text")

    assert caught.value.what == "the run cannot be recorded: No such file or directory"
    assert names(mine.outputs) == [f"{folder.run_id}.incomplete"]
