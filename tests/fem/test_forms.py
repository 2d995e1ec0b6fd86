"""Forms that another process has left half compiled."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

import kspde
from kspde.fem import backend

backend.require()
from kspde.fem import forms  # noqa: E402


@pytest.mark.one_rank
@pytest.mark.parametrize("age", [5.0, 100.0])
def test_what_a_killed_process_has_left_is_moved_out_of_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, age: float
) -> None:
    """FFCx waits for it and gives up, each time; a young one may be at work."""
    left = tmp_path / "libffcx_forms_1.c"
    left.touch()
    os.utime(left, (time.time() - age,) * 2)

    def form(what: Any, **options: Any) -> str:
        if left.exists():
            raise TimeoutError(
                "JIT compilation timed out, probably due to a failed previous compile. "
                f"Try cleaning cache (e.g. remove {left}) or increase timeout option."
            )
        return f"compiled {what}"

    monkeypatch.setattr(forms.fem, "form", form)
    if age < 30.0:
        with pytest.raises(kspde.MissingBackendError, match="timed out"):
            forms.compiled("u")
        assert left.exists()
    else:
        assert forms.compiled("u") == "compiled u"
        assert not left.exists()
