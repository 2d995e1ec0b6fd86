"""The files of ``make check``."""

from __future__ import annotations

from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


def test_the_files_that_conftest_lists_exist(pytestconfig: pytest.Config) -> None:
    listed = pytestconfig.pluginmanager.get_plugin(str(TESTS / "conftest.py")).QUICK
    assert listed <= {path.name for path in TESTS.rglob("test_*.py")}
