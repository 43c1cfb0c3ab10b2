"""The tables in the documentation are those of the tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_the_table_of_routes_is_that_of_the_tests():
    command = [sys.executable, str(Path(__file__).with_name("tables.py")), "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + "\nWrite it anew: python tests/contract/tables.py"
