"""What is generated is up to date."""

import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]


def test_the_field_table_in_the_docs_is_that_of_the_contract():
    printed = subprocess.run([sys.executable, "-m", "app.contract"], capture_output=True, text=True, check=True).stdout
    assert (CHECKOUT / "docs" / "fields.md").read_text() == printed
