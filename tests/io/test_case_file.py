"""Case files: what they build, and the one line that a mistake gets."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import kspde
from kspde.cli.case import read_case
from kspde.fem.meshes.build import mesh_arrays
from kspde.kernels import MaternMollifier
from kspde.particles.statistics import Histogram
from kspde.problem import Problem

DEMO = (Path(__file__).parents[1] / "stated.toml").read_text("utf-8")
MIXTURE = DEMO[DEMO.index('kind = "gaussian-mixture"') : DEMO.index("[domain]")]
DEMOS = Path(__file__).parents[2] / "demos"


def write(directory: Path, old: str = "", new: str = "") -> Path:
    """Write the demo's case with one thing changed; each rank has its own directory."""
    assert old in DEMO
    path = directory / "case.toml"
    path.write_text(DEMO.replace(old, new, 1), encoding="utf-8")
    return path


def initial(directory: Path, section: str) -> Path:
    return write(directory, MIXTURE, section + "\n")


def refusal(path: Path) -> str:
    """Return the line that refuses a case file, without the file's name."""
    with pytest.raises(kspde.InputError) as caught:
        read_case(path)
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith(f"{path}: ")
    return line.removeprefix(f"{path}: ").replace(str(path.parent) + "/", "")


def test_demo_is_the_mixture_of_the_readme(tmp_path: Path, mixture: kspde.GaussianMixture) -> None:
    case = read_case(write(tmp_path))
    problem = case.experiment.problem
    assert problem.model == kspde.SignalDependentKellerSegel(chi=8.0, mu=1.0)
    assert case.experiment.domain == kspde.Box(half_width=14.0, cells=32, degree=4)
    points = np.array([[0.0, 0.0], [1.0, 0.5], [-3.0, 2.0]])
    np.testing.assert_array_equal(problem.u0["u"](points), mixture(points))
    assert problem == Problem.of(problem.model, mixture, t_end=0.5, eps=0.3)
    assert case.experiment.solve == {"tol": 1e-6}
    assert case.experiment.simulate == {"n": 100_000, "dt": 0.01, "seed": 1}
    assert case.compare == {"replicas": 20}


def test_an_accuracy_chooses_the_domain(tmp_path: Path) -> None:
    path, table = tmp_path / "case.toml", DEMO[DEMO.index("[domain]") : DEMO.index("[regularisation]")]
    path.write_text(DEMO.replace(table, "").replace("tol = 1e-6", "accuracy = 1e-3"), encoding="utf-8")
    case = read_case(path)
    assert case.experiment.solve["accuracy"] == 1e-3
    assert case.experiment.domain.boundary == "decay"
    for wrong, message in (("accuracy = 2", "density.accuracy = 2"), ("tol = 1e-6", "domain. is missing: give")):
        path.write_text(path.read_text(encoding="utf-8").replace("accuracy = 1e-3", wrong), encoding="utf-8")
        with pytest.raises(kspde.InputError, match=message):
            read_case(path)
        path.write_text(path.read_text(encoding="utf-8").replace(wrong, "accuracy = 1e-3"), encoding="utf-8")


def test_the_replica_reaches_the_particles(tmp_path: Path) -> None:
    case = read_case(write(tmp_path, "seed = 1", "seed = 1\nreplica = 4"))
    assert case.experiment.simulate == {"n": 100_000, "dt": 0.01, "seed": 1, "replica": 4}


def test_a_case_without_mollifier_and_particles_leaves_all_defaults_to_the_backends(tmp_path: Path) -> None:
    path = tmp_path / "case.toml"
    path.write_text(DEMO[: DEMO.index("[regularisation]")], encoding="utf-8")
    case = read_case(path)
    problem = case.experiment.problem
    assert problem == Problem.of(problem.model, problem.u0, t_end=0.5)
    assert case.experiment.solve == {}
    assert case.experiment.simulate is None
    assert case.compare == {}


def test_parameters_say_the_same_case_again(tmp_path: Path) -> None:
    case = read_case(
        write(tmp_path, "tol = 1e-6", 'tol = 1e-6\npetsc_options = { ts_max_steps = 90, ts_rosw_type = "ra3pw" }')
    )
    again = json.loads(json.dumps(case.parameters(), allow_nan=False))
    assert again["density"]["petsc_options"] == {"ts_max_steps": 90, "ts_rosw_type": "ra3pw"}
    assert type(case.content).model_validate(again) == case.content


def test_matern_order_reaches_the_problem(tmp_path: Path) -> None:
    case = read_case(write(tmp_path, 'mollifier = "gaussian"', 'mollifier = "matern"\norder = 3'))
    assert case.experiment.problem.mollifier == MaternMollifier(eps=0.3, order=3)


def test_grid_is_read_beside_the_case_file(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((6, 9))
    np.savez(tmp_path / "micrograph.npz", values=values, extent=[-2.0, 3.0, -1.0, 1.0])
    section = 'kind = "grid"\npath = "micrograph.npz"\norientation = "image"\nbandwidth = 0.4\nmass = 2.5'
    u0 = read_case(initial(tmp_path, section)).experiment.problem.u0["u"]
    expected = kspde.GridDensity(values, (-2.0, 3.0, -1.0, 1.0), orientation="image", bandwidth=0.4, mass=2.5)
    points = np.array([[0.0, 0.0], [2.9, -0.9], [-1.5, 0.4]])
    np.testing.assert_array_equal(u0(points), expected(points))
    assert u0.mass == 2.5
    # An extent in the case file wins over the one in the .npz file.
    u0 = read_case(
        initial(tmp_path, 'kind = "grid"\npath = "micrograph.npz"\nextent = [0, 1, 0, 1]')
    ).experiment.problem.u0["u"]
    np.testing.assert_array_equal(u0([[0.0, 1.0]]), kspde.GridDensity(values, (0, 1, 0, 1))([[0.0, 1.0]]))


def test_observed_cells_demo(tmp_path: Path) -> None:
    u0 = read_case(DEMOS / "observed_cells.toml").experiment.problem.u0["u"]
    assert isinstance(u0, kspde.GaussianMixture)
    assert u0.means.shape == (400, 2)
    assert set(u0.stds) == {0.35}
    script = tmp_path / "make_observed_cells.py"
    shutil.copy(DEMOS / "data" / script.name, script)
    source = script.read_text(encoding="utf-8")
    exec(compile(source, str(script), "exec"), {"__name__": "__main__", "__file__": str(script)})
    shipped = (DEMOS / "data" / "observed_cells.csv").read_bytes()
    assert (tmp_path / "observed_cells.csv").read_bytes() == shipped
    assert b"SYNTHETIC" in shipped.splitlines()[0]


def test_other_domains_and_models(tmp_path: Path) -> None:
    box = DEMO[DEMO.index("[domain]") : DEMO.index("[regularisation]")]
    disk = 'kind = "disk"\nradius = 14.0\nsize = 0.2\nrim_size = 1.5'
    case = read_case(write(tmp_path, box, f"[domain]\n{disk}\n"))
    assert case.experiment.domain == kspde.Disk(radius=14.0, size=0.2, rim_size=1.5)
    case = read_case(write(tmp_path, box, '[domain]\nkind = "mesh"\npath = "dish.msh"\nboundary = "neumann"\n'))
    assert case.experiment.domain == kspde.MeshFile(path=tmp_path / "dish.msh", boundary="neumann")
    options = "merge = true\ntriangles = true\ncentre = [1, 2.5]"
    case = read_case(write(tmp_path, box, f'[domain]\nkind = "mesh"\npath = "dish.msh"\n{options}\n'))
    expected = kspde.MeshFile(path=tmp_path / "dish.msh", merge=True, triangles=True, centre=(1.0, 2.5))
    assert case.experiment.domain == expected
    motility = 'kind = "local-sensing"\nmotility = "exponential"\nalpha = 2.0\ntau = 1.0'
    case = read_case(write(tmp_path, 'kind = "signal-dependent-keller-segel"', motility))
    assert case.experiment.problem.model == kspde.LocalSensing(
        motility=kspde.ExponentialMotility(alpha=2.0), chi=8.0, tau=1.0
    )
    case = read_case(write(tmp_path, "tol = 1e-6", 'tol = 1e-6\ntimes = [0.1, 0.2]\nstatistics = ["log_gradient"]'))
    assert case.experiment.solve["save"] == kspde.SaveAt(times=(0.1, 0.2), statistics=("log_gradient",))
    table = 'dt = 0.01\nstatistics = ["moments", { kind = "histogram", bins = 32 }]'
    case = read_case(write(tmp_path, "dt = 0.01", table))
    assert case.experiment.simulate["save"] == kspde.SaveAt(statistics=("moments", Histogram(bins=32)))


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("chi = 8.0", "chi = -1", "model.chi = -1.0 is not valid: give a finite number >= 0"),
        ("chi = 8.0", "chi = nan", "model.chi = nan is not valid: give a finite number >= 0"),
        ("chi = 8.0", 'chi = "8"', 'model.chi = "8" is not valid: give a number'),
        ("chi = 8.0", "chi = true", "model.chi = true is not valid: give a number"),
        ("chi = 8.0", "chi = 1979-05-27", "model.chi = 1979-05-27 is not valid: give a number"),
        ("chi = 8.0", "", "model.chi is missing: give the strength χ ≥ 0 of the signal"),
        ("chi = 8.0", "ch = 8.0", "model.ch is not a key of [model]: did you mean chi? (1 more to correct)"),
        (
            '"signal-dependent-keller-segel"',
            '"local-sensing"\nmotility = "algebraic"\nalpha = 1.0',
            'model.alpha = 1.0 has no effect with motility = "algebraic": leave it out',
        ),
        ("tol = 1e-6", "times = [0.2, 0.1]", "density.times = [0.2, 0.1] are not valid: give increasing times"),
        ("tol = 1e-6", "times = [0.9]", "density.times reach 0.9, after t_end = 0.5: give times in [0, t_end]"),
        ("mu = 1.0", "mu = 0", "model.mu = 0.0 is not valid: give a finite number > 0"),
        ("[model]", "t_edn = 3\n[model]", "t_edn is not a key of a case file: did you mean t_end?"),
        (
            "[domain]",
            "[[domain]]",
            'domain = [{"kind": "box", "half_width": 14.0, "cells": 32, "degree... is not valid: give a table',
        ),
        ('"signal-dependent-keller-segel"', '"kpp"', 'model.kind = "kpp" is not valid: give "signal-dependent-kel'),
        (
            '"gaussian-mixture"',
            '"gauss"',
            'initial.kind = "gauss" is not valid: give "gaussian-mixture" or',
        ),
        ('kind = "gaussian-mixture"', "", 'initial.kind is missing: give "gaussian-mixture" or "algebraic" or'),
        ("tol = 1e-6", "accuracy = 1e-5", "[domain] has no effect beside density.accuracy: leave one of them out"),
        ('kind = "box"', "", 'domain.kind is missing: give "box" or "disk" or "mesh"'),
        ("weights = [0.5,", "weights = [0.4,", "initial.weights sum to 0.9: give positive numbers that sum to 1"),
        ("weights = [0.5,", "weigths = [0.5,", "initial.weigths is not a key of [initial]: did you mean weights?"),
        ("weights = [0.5,", 'weights = ["0.5",', 'initial.weights[0] = "0.5" is not valid: give a number'),
        ("[0.2, 1.5]", "[0.2, nan]", "initial.means has nan at index (2, 1): give finite numbers"),
        ("stds = [0.6,", "stds = [0.0,", "initial.stds contain 0: give positive lengths"),
        (
            "means = [[-1.2, 0.3], [1.3, -0.2], [0.2, 1.5]]",
            "means = [[0], [1], [2]]",
            "[initial] is 1-dimensional: the model asks for 2",
        ),
        ("half_width = 14.0", "half_width = -14", "domain.half_width = -14.0 is not valid: give a finite number > 0"),
        ("cells = 32", "cells = 32.5", "domain.cells = 32.5 is not valid: give an integer"),
        ("cells = 32", "cells = 0", "domain.cells = 0 is not valid: give an integer >= 2"),
        (
            "degree = 4",
            'boundary = "open"',
            'domain.boundary = "open" is not valid: give "decay", "neumann" or "periodic"',
        ),
        ("eps = 0.3", "eps = -0.3", "regularisation.eps = -0.3 is not valid: give a finite number > 0"),
        (
            '"gaussian"',
            '"box"',
            'regularisation.mollifier = "box" is not valid: give "gaussian", "matern", "bump", "compact-bump" or '
            '"two-bumps"',
        ),
        (
            'mollifier = "gaussian"',
            "order = 3",
            'regularisation.order = 3 has no effect with mollifier = "gauss',
        ),
        ('"gaussian"', '"matern"\norder = 1', "regularisation.order = 1 is not valid: give an integer >= 2"),
        (
            "tol = 1e-6",
            "petsc_options = { ksp_type = [1] }",
            "density.petsc_options: ksp_type = [1] is not valid: give one of bcgs, cg",
        ),
        ("n = 100_000", "n = 0", "particles.n = 0 is not valid: give an integer >= 1"),
        ("n = 100_000", "n = 1e5", "particles.n = 100000.0 is not valid: give an integer"),
        ("dt = 0.01", "dt = -0.01", "particles.dt = -0.01 is not valid: give a finite number > 0"),
        ("dt = 0.01", "", "particles.dt is missing: give time step > 0"),
        ("seed = 1", "seed = -1", "particles.seed = -1 is not valid: give an integer >= 0"),
        ("seed = 1", "replica = -1", "particles.replica = -1 is not valid: give an integer >= 0"),
        ("seed = 1", "field_tol = 0", "particles.field_tol = 0.0 is not valid: give a finite number >= 1e-12 and < 1"),
        ("seed = 1", f"replica = {2**32}", f"particles.replica = {2**32} is not valid: give an integer >= 0 and <="),
        ("replicas = 20", "replicas = 1", "compare.replicas = 1 is not valid: give an integer >= 2"),
        ("replicas = 20", "bandwidth = inf", "compare.bandwidth = inf is not valid: give a finite number > 0"),
        ("replicas = 20", "t = -1.0", "compare.t = -1.0 is not valid: give a finite number >= 0"),
        ("replicas = 20", "times = [0.4, 0.2]", "compare.times = [0.4, 0.2] are not valid: give increasing times in"),
        (
            "replicas = 20",
            'distances = ["l1"]\nr = 2\nwasserstein = "exat"',
            'compare.wasserstein = "exat" is not valid',
        ),
        ("t_end = 0.5", "t_end = -1", "t_end = -1.0 is not valid: give a finite number > 0"),
        ("t_end = 0.5", "", "t_end is missing: give the final time of density and particles"),
        ("chi = 8.0", "chi = 1e300", "model.chi = 1e+300 is not valid: give a finite number >= 0, of size 1e+100 at"),
        ("chi = 8.0", "chi = 8.0\ncells = 4", "model.cells is not a key of [model]: it is one of [domain] with kind ="),
        ("chi = 8.0", "chi = 8.0\ntau = 1", 'model.tau is not a key of [model]: it is one of [model] with kind = "loc'),
        ("chi = 8.0", 'chi = 8.0\n"a\\nb" = 1', 'model."a\\nb" is not a key of [model]: the keys are chi, kind, mu'),
        ("chi = 8.0", f"chi = {'9' * 5000}", "not a TOML file: Exceeds the limit (4300 digits)"),
        ("chi = 8.0", f"chi = {'[' * 5000}", "not a TOML file: nested too deeply"),
        ("cells = 32", "cells = nan", "domain.cells = nan is not valid: give an integer"),
        ("cells = 32", "cells = 100_000", "domain.cells = 100000 of degree 4 have 160000800001 nodes: give fewer, for"),
        ("n = 100_000", f"n = {10**20}", f"particles.n = {10**20} is not valid: give an integer >= 1 and < 2^63"),
        ("t_end = 0.5", "sweep = 1\nt_end = 0.5", "sweep is not a key of a case file: a file with [sweep] is a study"),
        ("[model]", "[model", "not a TOML file: Expected ']' at the end of a table declaration (at line 6, column 7)"),
    ],
)
def test_a_mistake_is_one_line_with_the_key(tmp_path: Path, old: str, new: str, line: str) -> None:
    assert refusal(write(tmp_path, old, new)).startswith(line)


@pytest.mark.parametrize(
    ("sizes", "line"),
    [
        ({"size": 1e-9}, "size = 1e-09 is not valid: give at least 1e-07 of the radius"),
        ({"size": 1e-6}, "size = 1e-06 makes 3.6e+12 nodes or more: give larger cells, for less than 2^31"),
        ({"size": 1e-6, "rim_size": 1e-5}, "size = 1e-06 makes 3.6e+10 nodes or more: give larger cells, for less"),
    ],
)
def test_a_disk_of_too_many_cells(sizes: dict[str, float], line: str) -> None:
    with pytest.raises(kspde.InputError) as caught:
        kspde.Disk(radius=1.0, **sizes)
    assert str(caught.value).startswith(line)
    assert kspde.Disk(radius=1.0, size=1e-4).size == 1e-4


def test_a_dimension_that_a_model_does_not_have_is_not_sent_to_the_model(tmp_path: Path) -> None:
    path = tmp_path / "case.toml"
    text = Path("kspde/cases/density-dependent-volatility.toml").read_text(encoding="utf-8")
    path.write_text(text.replace("half_width = 10.0", "half_width = 10.0\ndimension = 2"), encoding="utf-8")
    remedy = 'leave it out; [model] with kind = "density-dependent-volatility" has none either'
    assert refusal(path) == f"domain.dimension is not a key of [domain]: {remedy}"


def test_missing_section(tmp_path: Path) -> None:
    path = tmp_path / "case.toml"
    path.write_text("t_end = 1.0", encoding="utf-8")
    assert refusal(path) == "[model] is missing: give the system of equations (1 more to correct)"


def test_the_extent_of_a_bare_array_must_be_given(tmp_path: Path) -> None:
    np.save(tmp_path / "values.npy", np.ones((3, 4)))
    assert refusal(initial(tmp_path, 'kind = "grid"\npath = "values.npy"')).startswith(
        "initial.extent is missing: give (xmin, xmax, ymin, ymax, ...), or scale"
    )


@pytest.mark.parametrize(
    ("section", "line"),
    [
        ('kind = "grid"\npath = "none.npz"', "initial.path: cannot read none.npz: No such file or directory"),
        ('kind = "grid"\npath = "."', "initial.path: cannot read"),
        ('kind = "grid"\npath = "cells.csv"', "initial.path: cells.csv: not a table of numbers with the delimiter ','"),
        ('kind = "grid"\npath = "objects.npy"', "initial.path: objects.npy is not a .npy or .npz file of numbers"),
        (
            'kind = "grid"\npath = "line.npy"\nextent = [0, 1, 0, 1]',
            "initial.extent has shape (4,): give shape (2,)",
        ),
        ('kind = "grid"\npath = "line.npy"\nextent = [0, 1]', "[initial] is 1-dimensional: the model asks for 2"),
        ('kind = "positions"\npath = "none.csv"\nbandwidth = 1', "initial.path: cannot read positions from none.csv"),
        ('kind = "positions"\npath = "cells.csv"\nbandwidth = 0', "initial.bandwidth = 0.0 is not valid: give a finit"),
        (
            'kind = "positions"\npath = "cells.csv"',
            "initial.bandwidth is missing: give the kernel's standard dev",
        ),
        ('kind = "positions"\npath = "cells.csv"\nbandwidth = 1', "initial.path: cells.csv, data row 2: y = 'nan' is"),
        (
            'kind = "positions"\npath = "cells.csv"\nbandwidth = 1\ncolumns = ["x", "z"]',
            "initial.path: cells.csv has no column 'z'",
        ),
        ('kind = "positions"\npath = "line.npy"\nbandwidth = 1', "initial.path: cannot read positions from line.npy"),
    ],
)
def test_a_data_file_that_does_not_fit_is_one_line(tmp_path: Path, section: str, line: str) -> None:
    (tmp_path / "cells.csv").write_text("# made up\ncell,x,y\n1,0.5,0.5\n2,0.5,nan\n", encoding="utf-8")
    np.save(tmp_path / "line.npy", np.ones(5))
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    assert refusal(initial(tmp_path, section)).startswith(line)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("none.msh", "domain.path = 'none.msh' is not a file: give the name of a mesh file"),
        ("x" * 300, f"domain.path = '{'x' * 300}' is not a file: give the name of a mesh file"),
        ("cells.vtk", "cells.vtk cannot be read as a mesh (Illegal VTK header Error: Couldn't"),
    ],
)
def test_a_mesh_file_that_cannot_be_read(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, line: str
) -> None:
    (tmp_path / "cells.vtk").write_text("# vtk", encoding="utf-8")
    box = DEMO[DEMO.index('kind = "box"') : DEMO.index("[regularisation]")]
    case = read_case(write(tmp_path, box, f'kind = "mesh"\npath = "{name}"\n'))
    with pytest.raises(kspde.InputError) as caught, case.naming("density"):
        mesh_arrays(case.experiment.domain, 2)
    assert str(caught.value).replace(f"{tmp_path}/", "").startswith(f"case.toml: {line}")
    assert capfd.readouterr() == ("", "")


def test_files_that_are_no_case_files(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.toml") == (
        "cannot be read (No such file or directory): give the path of a case file"
    )
    with pytest.raises(kspde.InputError, match=r"cannot be read \(Is a directory\)"):
        read_case(tmp_path)
    marked = tmp_path / "marked.toml"  # as some editors save it
    marked.write_bytes(b"\xef\xbb\xbf" + DEMO.encode())
    assert read_case(marked).content == read_case(write(tmp_path)).content
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"t_end = 1 # \xff")
    assert refusal(binary) == "byte 12 is not UTF-8: a case file is a TOML text, save it in UTF-8"


def test_text_is_never_evaluated(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    code = f"__import__('pathlib').Path('{victim}').touch()"
    for old, new in (("chi = 8.0", f'chi = "{code}"'), ('"gaussian"', f'"{code}"'), ("seed = 1", f'seed = "{code}"')):
        refusal(write(tmp_path, old, new))
    refusal(initial(tmp_path, f'kind = "grid"\npath = "{code}"'))
    assert not victim.exists()
