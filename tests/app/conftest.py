"""Fixtures of the inference process's tests."""

from pathlib import Path

import pytest

from tests.app.support import Place, variant


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    made.write_release(variant(made.add_bundle()))
    return made
