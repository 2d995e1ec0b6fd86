"""The book's parts that need no Sphinx (``make book`` builds it): notebooks, tables of contents, escaped docstrings."""

import ast
import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import pytest

pytestmark = pytest.mark.one_rank

ROOT = Path(__file__).parents[2]
DEMOS = sorted((ROOT / "demos").glob("*.py"))


def module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"book_{name}", ROOT / "book" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.mark.parametrize("demo", DEMOS, ids=lambda path: path.stem)
def test_demos_are_notebooks(demo: Path) -> None:
    notebook = module("assemble").notebook(demo)
    nbformat.validate(notebook)
    kinds = [cell["cell_type"] for cell in notebook.cells]
    assert kinds[0] == "markdown", "a demo begins with its title"
    assert re.match(r"# \S", notebook.cells[0]["source"])
    assert kinds.count("code") >= 2
    code = "\n".join(cell["source"] for cell in notebook.cells if cell["cell_type"] == "code")
    assert ast.dump(ast.parse(code)) == ast.dump(ast.parse(demo.read_text(encoding="utf-8")))  # nothing is lost
    header = notebook.cells[0]["source"] + notebook.cells[1]["source"]
    assert f"python demos/{demo.name}" in header, "a demo says how it is run"
    assert re.search(r"seconds|minute", header), "and what it costs"
    assert "__file__" not in code or '"__file__" in globals()' in code  # a notebook has none


def test_every_chapter_is_in_a_table_of_contents_once(shared_tmp_path: Path, comm: Any) -> None:
    book = module("assemble")
    listed = book.listed()
    assert len(set(listed)) == len(listed)
    if comm.rank == 0:
        book.assemble(shared_tmp_path / "source")
        made = {
            path.relative_to(shared_tmp_path / "source").with_suffix("").as_posix()
            for path in (shared_tmp_path / "source").rglob("*")
            if path.suffix in (".md", ".ipynb") and "meshes" not in path.parts
        }
        assert made == {*listed, "index"}
        assert {f"demos/{path.stem}" for path in DEMOS} <= set(listed)
        assert (
            listed.index("demos/01_first_solve") < listed.index("demos/09_studies") < listed.index("demos/10_own_model")
        )
        readme = (shared_tmp_path / "source" / "readme.md").read_text(encoding="utf-8")
        assert "(ledger.md)" in readme
        assert "`tests/benchmarks/results/large_meshes.md`" in readme
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", readme):
            assert (shared_tmp_path / "source" / target).exists(), target
        for notebook in (shared_tmp_path / "source" / "demos").glob("*.ipynb"):
            for target in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", notebook.read_text(encoding="utf-8")):
                assert (notebook.parent / target).exists(), target
        ledger = (shared_tmp_path / "source" / "ledger.md").read_text(encoding="utf-8")
        assert ledger.startswith("# ")
        assert "Theorem 1" in ledger
        assert "max<sub>i</sub> \\|X<sub>i</sub> − X̄<sub>i</sub>\\| &gt; N<sup>−α</sup>" in ledger
        found = (shared_tmp_path / "source" / "findings.md").read_text(encoding="utf-8")
        assert "## How far is the mollified density from that of the local equation?" in found
        assert "| mollifier = gaussian | 1.983 [" in found
        assert "`kspde study mollification --out DIR`" in found
        assert re.search(r"\n> 4\d studies: \d\.\d h of one process together\.\n", found)
        for page in (ledger, found):
            assert not re.search(r"\w[\^_]\{", page)
    comm.Barrier()


def test_every_key_of_case_and_study_files_is_in_the_handbook() -> None:
    from kspde.cli.schema import json_schema

    page = "\n".join(module("assemble").pages_of_files().values())
    assert not re.search(r"\{[A-Z_]+\}", page), "everything is filled in"
    tables = [
        part for kind in ("case", "study") for part in json_schema(kind)["$defs"].values() if "properties" in part
    ]
    for table in tables:
        kind = table["properties"].get("kind")
        if kind is not None:
            assert f'`kind = "{kind["const"]}"`' in page
        for key in {*table["properties"]} - {"kind"}:
            assert f"\n| `{key}` | " in page, key
    for line in page.splitlines():
        if line.startswith("| `"):
            assert len(re.findall(r"(?<!\\)\|", line)) in (3, 5), line
    assert "| `half_width` | number | required | " in page
    assert "| `degree` | integer | `4` | " in page
    assert "\n### `[[fits]]`\n" in page


def test_formulas_in_plain_text_are_set_outside_of_code_and_tex() -> None:
    formulas = module("assemble").formulas
    assert formulas("u_N ~ e^(−b(x)) on [−8, 8]^N, a_12") == (
        "u<sub>N</sub> ~ e<sup>−b(x)</sup> on [−8, 8]<sup>N</sup>, a<sub>12</sub>"
    )
    for kept in ("`u_N` and `t_end`", "$u_N$", "$$\nu_N\n$$", "[u_N](a_b.md)", "    x_1 = 2", "```\nu_N\n```", "t_end"):
        assert formulas(kept) == kept


def test_scripts_and_commands_of_the_chapters_name_what_there_is() -> None:
    import kspde
    from kspde.cli.commands import app

    commands = {each.name or each.callback.__name__ for each in app.registered_commands if each.callback}
    for path in (ROOT / "book").glob("*.md"):
        text = path.read_text(encoding="utf-8")
        for script in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
            if not script.startswith("{"):
                ast.parse(script)
        for name in re.findall(r"`[^`]*?\bkspde\.([A-Za-z_]+)", text):
            assert hasattr(kspde, name), (path.name, name)
        for name in re.findall(r"(?:^ {4}|`)(?:mpirun -n \d+ )?kspde ([a-z]+)", text, re.MULTILINE):
            assert name in commands, (path.name, name)


def test_docstrings_are_plain_text_outside_of_directives() -> None:
    conf = module("conf")
    assert conf.plain("of *fields* and kernel: K.") == "of *fields* and kernel: K."
    assert conf.plain("    kernel: K.") == r"    kernel: \K."
    assert conf.plain("|x|² and Φ * u, c_*, u_0, ``a * b``, :math:`|x|`") == (
        r"\|x\|² and Φ \* u, c\_\*, u_0, ``a * b``, :math:`|x|`"
    )
    lines = ["a * b", "", ".. math::", "    |x| * y_", "", "    * z", "after |x|"]
    assert conf.escape(lines) == [r"a \* b", *lines[1:6], r"after \|x\|"]
    assert conf.extensions[0] == "myst_nb"
    assert conf.nb_execution_raise_on_error is True


def test_the_reference_names_what_there_is() -> None:
    text = (ROOT / "book" / "api.md").read_text(encoding="utf-8")
    import kspde

    for name in re.findall(r"automodule:: (\S+)", text):
        assert importlib.util.find_spec(name) is not None, name
    public = [name for name in kspde.__all__ if name != "theory"]
    shown = text + "".join(
        Path(spec.origin).read_text(encoding="utf-8")
        for name in re.findall(r"automodule:: (\S+)", text)
        if (spec := importlib.util.find_spec(name)) is not None and spec.origin
    )
    for name in public:
        assert re.search(rf"\b(class|def) {name}\b|\.{name}\b|, {name}\b|members: {name}\b", shown), name
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "sphinx-build -q -W --keep-going build/book/source build/book/html" in makefile
