"""Files that are there whole or not at all."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from training.files import write_whole


def test_it_makes_folders_replaces_what_was_there_and_leaves_nothing_else(tmp_path: Path):
    path = tmp_path / "a" / "b"
    write_whole(path, b"old")
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"
    assert [*path.parent.iterdir()] == [path]
    assert path.stat().st_mode & 0o777 == 0o644


def test_where_there_is_no_room_the_old_content_stays_and_the_error_names_the_file(tmp_path: Path):
    path = tmp_path / "file"
    write_whole(path, b"old")
    program = "import pathlib, sys, training.files as f; f.write_whole(pathlib.Path(sys.argv[1]), bytes(9999))"
    ended = subprocess.run(
        [sys.executable, "-c", program, str(path)],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000)),  # nothing else runs here
        # Coverage has no room either.
        env={name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert f"OSError: [Errno 27] File too large: '{path}'" in ended.stderr
    assert path.read_bytes() == b"old"
    assert [*tmp_path.iterdir()] == [path]


def test_a_folder_in_the_way_is_an_error_that_names_it(tmp_path: Path):
    (tmp_path / "file").mkdir()
    with pytest.raises(OSError, match=rf"{tmp_path}{os.sep}file"):
        write_whole(tmp_path / "file", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
