"""Checkpoints whose checksum is right and whose content is made up: one line, whatever is in them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hostile
import numpy as np
import pytest

import kspde
from kspde.runtime.hdf5 import h5py

pytestmark = pytest.mark.one_rank  # files are forged on one

MODEL = kspde.LocalSensing(motility=kspde.OnePlusExponentialMotility(), chi=1.0, tau=1.0)
U0 = kspde.GaussianMixture(weights=[1.0], means=[[0.4, -0.3]], stds=[0.5])
BOX = kspde.Box(half_width=4.0, cells=8, degree=2, grading=0)

_MAGIC = b"kspde checkpoint, blake2b of the rest: "


class StopError(Exception):
    """Ends a run in its middle."""


def stop(fraction: float) -> None:
    if fraction > 0.5:
        raise StopError


def density(**options: Any) -> Any:
    save = kspde.SaveAt(times=[0.0, 0.004])
    return kspde.solve(MODEL, U0, BOX, t_end=0.02, tol=1e-3, eps=0.4, scheme="rosenbrock", save=save, **options)


def particles(**options: Any) -> Any:
    save = kspde.SaveAt(times=[0.01], statistics=("moments",))
    return kspde.simulate(MODEL, U0, n=20, t_end=0.04, dt=0.01, eps=0.4, seed=1, save=save, **options)


RUNS: dict[str, Callable[..., Any]] = {"density": density, "particles": particles}


@pytest.fixture(scope="module", params=RUNS)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Callable[..., Any], Path]:
    """A run and the newest checkpoint that it has left."""
    directory = tmp_path_factory.mktemp(request.param)
    with pytest.raises(StopError):
        RUNS[request.param](checkpoint=kspde.Checkpoint(directory, every=0), progress=stop)
    return RUNS[request.param], sorted(directory.glob("*.h5"))[-1]


def seal(path: Path) -> None:
    """Give a file the checksum that it should have."""
    whole = path.read_bytes()
    digest = hashlib.blake2b(whole[512:], digest_size=32).hexdigest()
    path.write_bytes((_MAGIC + digest.encode() + b"\n").ljust(512, b"\0") + whole[512:])


def forge(original: Path, directory: Path, change: Callable[[h5py.File], None]) -> Path:
    """Return a checkpoint in a new directory, changed and sealed."""
    path = directory / original.name
    shutil.copy(original, path)
    with h5py.File(path, "r+") as file:
        change(file)
    seal(path)
    return path


def arrays(original: Path) -> Iterator[str]:
    with h5py.File(original) as file:
        for group in ("shared", "parts"):
            yield from (f"{group}/{name}" for name in file[group])


def some(original: Path, kind: str, kinds: dict[str, Any]) -> list[str]:
    """Return all arrays where one is missing, and every fifth for each of the other kinds, in turn."""
    names = list(arrays(original))
    return names if kind == "missing" else names[list(kinds).index(kind) % 5 :: 5]


def replaced(name: str, value: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]
        if value is not None:
            file[name] = value

    return change


def link(name: str, target: Any) -> Callable[[h5py.File], None]:
    return replaced(name, target)


def outside(name: str) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]
        file.create_dataset(name, (10,), "u1", external=[("/dev/zero", 0, h5py.h5f.UNLIMITED)])

    return change


def virtual(name: str) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]
        layout = h5py.VirtualLayout(shape=(10,), dtype="f8")
        layout[:] = h5py.VirtualSource("/etc/passwd", "x", shape=(10,))
        file.create_virtual_dataset(name, layout)

    return change


def endless(name: str, shape: tuple[int, ...]) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]
        file.create_dataset(name, shape, "f8", chunks=(64,) * len(shape))

    return change


def attribute(name: str, value: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        if value is None:
            del file.attrs[name]
        else:
            file.attrs[name] = value

    return change


#: Changes of an array that no run can go on from, by their kind.
OF_ARRAYS: dict[str, Callable[[str], Callable[[h5py.File], None]]] = {
    "missing": lambda name: replaced(name, None),
    "texts": lambda name: replaced(name, np.array([b"x", b"y"])),
    "words of any length": lambda name: replaced(name, "x" * 100_000),
    "complex": lambda name: replaced(name, np.ones(3, complex)),
    "records": lambda name: replaced(name, np.zeros(3, [("a", "f8"), ("b", "i4")])),
    "a group": lambda name: lambda file: (file.__delitem__(name), file.create_group(f"{name}/x"))[0],
    "a link elsewhere": lambda name: link(name, h5py.ExternalLink("/etc/passwd", "/x")),
    "a link to itself": lambda name: link(name, h5py.SoftLink(f"/{name}")),
    "data elsewhere": outside,
    "virtual data": virtual,
    "10^15 entries": lambda name: endless(name, (10**15,)),
    "10^24 entries": lambda name: endless(name, (10**8, 10**8, 10**8)),
    "another shape": lambda name: replaced(name, np.ones((2, 3, 5, 7))),
}
#: What is said of some of them.
SAID = {
    "a link elsewhere": "it has a link that does not lead to a part of itself",
    "a link to itself": "it has a link that does not lead to a part of itself",
    "data elsewhere": "an array of it is in another file",
    "virtual data": "an array of it is in another file",
    "10^15 entries": "it promises 8e+15 bytes",
}
#: Changes that some arrays may bear, such as a value of a history that is not finite: then the run goes on.
OF_VALUES: dict[str, Callable[[Any], Any]] = {
    "nan": lambda old: np.full_like(old, np.nan) if old.dtype.kind == "f" else old,
    "infinite": lambda old: np.full_like(old, np.inf) if old.dtype.kind == "f" else old,
    "huge": lambda old: np.full_like(old, 1e300) if old.dtype.kind == "f" else old,
    "negative": lambda old: -np.ones_like(old) if old.dtype.kind == "f" else old,
    "nothing": lambda old: np.zeros_like(old),
    "a row less": lambda old: old[:-1] if old.ndim else old,
    "no rows": lambda old: old[:0] if old.ndim else old,
}
#: Changes of what describes the file.
OF_FILES: dict[str, Callable[[h5py.File], None]] = {
    "no step": attribute("step", None),
    "a negative step": attribute("step", -1),
    "the last step": attribute("step", 10**6),
    "a huge step": attribute("step", 1e300),
    "a step that is a text": attribute("step", "one"),
    "a step that is an array": attribute("step", [1, 2]),
    "no problem": attribute("problem", None),
    "a problem that is no JSON": attribute("problem", "__import__('os').system('touch canary')"),
    "a problem that is a number": attribute("problem", 3),
    "a problem that is a list": attribute("problem", "[1, 2]"),
    "a problem that is a word": attribute("problem", '"x"'),
    "a deep problem": attribute("problem", "[" * 20_000),
    "a huge problem": attribute("problem", json.dumps({"k" * 20_000: "v" * 20_000})),
    "a problem with huge numbers": attribute("problem", '{"t_end": ' + "9" * 5_000 + "}"),
    "no shared arrays": lambda file: file.__delitem__("shared"),
    "no parts": lambda file: file.__delitem__("parts"),
    "shared is an array": lambda file: (file.__delitem__("shared"), file.create_dataset("shared", data=np.ones(3)))[0],
    "parts is an array": lambda file: (file.__delitem__("parts"), file.create_dataset("parts", data=np.ones(3)))[0],
    "parts are elsewhere": link("parts", h5py.ExternalLink("/etc/passwd", "/")),
    "a circle": lambda file: file.__setitem__("shared/again", file["shared"]),
}


def resume(call: Callable[..., Any], path: Path) -> Callable[[], Any]:
    return lambda: call(checkpoint=kspde.Checkpoint(path.parent, every=1e9), resume=True)


def test_the_original_is_good(run: tuple[Callable[..., Any], Path], tmp_path: Path) -> None:
    call, original = run
    resumed = resume(call, forge(original, tmp_path, lambda file: None))()
    np.testing.assert_allclose(resumed.diagnostics["second_moment"], call().diagnostics["second_moment"], rtol=1e-9)


@pytest.mark.parametrize("kind", OF_ARRAYS)
def test_forged_arrays(run: tuple[Callable[..., Any], Path], tmp_path: Path, kind: str) -> None:
    call, original = run
    for name in some(original, kind, OF_ARRAYS):
        if kind == "missing" and name.endswith(("/dt", "/bounds", "/norms")):
            continue  # runs that have yet to choose a step have none
        path = forge(original, tmp_path, OF_ARRAYS[kind](name))
        line = hostile.refusal(resume(call, path), tmp_path)
        assert "checkpoint" in line, (name, line)
        assert SAID.get(kind, "") in line, (name, line)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", OF_VALUES)
def test_forged_values(run: tuple[Callable[..., Any], Path], tmp_path: Path, kind: str) -> None:
    call, original = run
    for name in some(original, kind, OF_VALUES):
        with h5py.File(original) as file:
            old = file[name][()]
        path = forge(original, tmp_path, replaced(name, OF_VALUES[kind](np.asarray(old))))
        said = ""
        try:
            resume(call, path)()
        except kspde.KspdeError as error:
            said = str(error)
        assert "\n" not in said, name
        assert len(said) < hostile.LONGEST, name


@pytest.mark.parametrize("kind", OF_FILES)
def test_forged_files(run: tuple[Callable[..., Any], Path], tmp_path: Path, kind: str) -> None:
    call, original = run
    path = forge(original, tmp_path, OF_FILES[kind])
    assert "checkpoint" in hostile.refusal(resume(call, path), tmp_path)


def test_what_is_no_file(run: tuple[Callable[..., Any], Path], tmp_path: Path) -> None:
    call, original = run
    path = tmp_path / original.name
    makers: tuple[Callable[[], object], ...] = (
        lambda: os.mkfifo(path),
        path.mkdir,
        lambda: path.symlink_to(path),
        lambda: path.symlink_to("/dev/zero"),
        lambda: (path.touch(), os.truncate(path, 1 << 40)),
    )
    for make in makers:
        make()
        assert "is damaged (" in hostile.refusal(resume(call, path), tmp_path)
        path.rmdir() if path.is_dir() else path.unlink()


def test_bytes_at_random(run: tuple[Callable[..., Any], Path], tmp_path: Path) -> None:
    """Whatever HDF5 makes of it, with the right checksum."""
    call, original = run
    whole = original.read_bytes()
    for cut in (512, 520, 600, 1000, len(whole) // 2, len(whole) - 8):
        path = tmp_path / original.name
        path.write_bytes(whole[:cut])
        seal(path)
        assert "is damaged (" in hostile.refusal(resume(call, path), tmp_path)
