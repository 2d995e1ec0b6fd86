"""Assemble the book's sources: python book/assemble.py DIRECTORY.

The chapters are book/*.md, the demos as notebooks (jupytext), the ledger of the papers' claims as ``kspde ledger``
writes it, the findings of the ready studies, and the keys of case and study files as ``kspde schema`` prints them.
Sphinx then runs the notebooks: ``make book`` does both. MathJax comes from a package: the book needs no network.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import jupytext
import nbformat

ROOT = Path(__file__).resolve().parents[1]
DEMOS = ROOT / "demos"

#: Code, TeX, links and pictures in Markdown.
_KEPT = re.compile(
    r"(```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$]*\$|!?\[[^\]]*\]\([^)]*\)|^ {4}.*?$)", re.DOTALL | re.MULTILINE
)


def demos() -> list[Path]:
    """Return the demos."""
    return sorted(DEMOS.glob("*.py"))


def listed() -> list[str]:
    """Return the chapters of index.md's tables of contents, in order."""
    tables = re.findall(
        r"```\{toctree\}\n(.*?)```", (ROOT / "book" / "index.md").read_text(encoding="utf-8"), re.DOTALL
    )
    return [line for table in tables for line in table.splitlines() if line and not line.startswith(":")]


def notebook(demo: Path) -> nbformat.NotebookNode:
    """Return a demo as a notebook, valid by nbformat's schema."""
    made = jupytext.read(demo, fmt="py:percent")
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    for number, cell in enumerate(made.cells):  # random otherwise, and the cache of executed notebooks would miss
        cell["id"] = f"{demo.stem[:50].replace('_', '-')}-{number}"
        if cell["cell_type"] == "markdown":
            cell["source"] = formulas(cell["source"])
    nbformat.validate(made)
    return made


def formulas(text: str) -> str:
    """Return Markdown in which formulas in plain text (u^ε, u_N) are set, outside of code, links and TeX."""
    from kspde.papers.studies.formulas import lowered

    parts = _KEPT.split(text)
    parts[::2] = [lowered(part) for part in parts[::2]]
    return "".join(parts)


def ledger() -> str:
    """Return the chapter of the ledger, in Markdown: what ``kspde ledger`` writes, a narrow table a source."""
    from kspde.cli.ledger import ledger_text, read_results

    results = read_results([])
    content = json.loads(ledger_text(results, Path("ledger.json")))
    whole = ledger_text(results, Path("ledger.md")).splitlines()
    out = [whole[0], "", content["rule"]]
    sections: dict[str, list[dict[str, str]]] = {}
    for row in content["rows"]:
        sections.setdefault(row["source"], []).append(row)
    for source, rows in sections.items():
        out += ["", f"## {source}", "", "| promised | measured | verdict |", "| --- | --- | --- |"]
        for row in rows:
            row = {name: typeset(text) for name, text in row.items()}
            promised = f"**{row['number']}**<br>{row['promised']}"
            measured = " ".join(part for part in (row["measured"], row["interval"]) if part)
            if row["command"]:
                measured += f"<br>`{row['command']}`"
            if row["erratum"]:
                measured += f"<br>*Note:* {row['erratum']}"
            out.append(f"| {promised} | {measured} | {row['verdict']} |")
    last = next(i for i, line in enumerate(whole) if line.startswith("Where the numbers"))
    return "\n".join([*out, "", "## Where the numbers come from", "", *whole[last + 1 :], ""])


def findings() -> str:
    """Return the chapter of findings, in Markdown: each question of a ready study beside its shipped results."""
    from kspde.cli.jobs import cost_lines
    from kspde.cli.ledger import read_results
    from kspde.cli.study import read_study, ready_studies
    from kspde.papers.studies import rates_of
    from kspde.papers.studies.outcome import by_chance

    results = read_results([])
    answering = [study for study in map(read_study, ready_studies()) if study.finding and study.name in results]
    judged = [rate for study in answering for rate in rates_of(results[study.name]) if rate.promises and rate.order]
    head = (ROOT / "book" / "findings.md").read_text(encoding="utf-8")
    head = head.replace("{CHANCE}", by_chance(len(judged))).replace("{COST}", cost_lines(list(ready_studies()))[-1])
    return "\n".join([head, *(line for study in answering for line in finding(study, results[study.name]))])


def finding(study: Any, result: dict[str, Any]) -> list[str]:
    """Return the section of one finding."""
    from kspde.papers.studies import MEASURES, rates_of
    from kspde.papers.studies.formulas import label_of, symbol_of
    from kspde.papers.studies.report import constant_text

    about, quantities = study.finding, MEASURES[study.measure].quantities
    out = [f"## {cell(about.question)}", "", f"**{cell(about.source)}:** {cell(about.statement)}", ""]
    out.append(cell(about.answer))
    if result["rates"]:
        out += ["", "| quantity | at | order | constant | promised | verdict |", f"|{' --- |' * 6}"]
    for rate in rates_of(result):
        order = "none" if rate.order is None else "{:.3f} [{:.3f}, {:.3f}]".format(rate.order[0], *rate.order[1])
        promised = "<br>".join(f"{each.order:.4g}, {each.status}: {cell(each.source)}" for each in rate.promises)
        what = f"{cell(quantities[rate.fit.quantity].symbol)} in {cell(symbol_of(rate.fit.against))}"
        verdicts = "<br>".join(each.verdict for each in rate.promises)
        constant = cell(constant_text(rate))
        out.append(f"| {what} | {cell(label_of(rate.group))} | {order} | {constant} | {promised} | {verdicts} |")
    if about.shown:
        swept = list(result["axes"])
        names = [*map(symbol_of, swept), *(quantities[name].symbol for name in about.shown)]
        out += ["", f"| {' | '.join(map(cell, names))} |", f"|{' --- |' * len(names)}"]
    for point in result["points"] if about.shown else ():
        entries = [point["quantities"][name] for name in about.shown]
        values = ["{:.4g} [{:.4g}, {:.4g}]".format(entry["value"], *entry["interval"]) for entry in entries]
        out.append(f"| {' | '.join([*(str(point['swept'][name]) for name in swept), *values])} |")
    seconds = sum(point["seconds"] for point in result["points"])
    seeds = f"kspde {result['kspde']}, {result['provenance']['date'][:10]}, {seconds:.0f} s"
    out += ["", f"*Not resolved:* {cell(about.unresolved)}", "", f"`{result['command']}` ({seeds})", ""]
    return out


def typeset(text: str) -> str:
    """Return a text with its formulas set, in which the characters that mean something to Markdown mean themselves."""
    from kspde.papers.studies.formulas import html

    return re.sub(r"([|*_$\\\[\]])", r"\\\1", html(text.replace("\n", " ")))


def pages_of_files() -> dict[str, str]:
    """Return the chapters of case and of study files, in Markdown: what ``kspde schema`` prints, in tables."""
    from kspde.cli.schema import json_schema
    from kspde.cli.sections import NOT_IN_FILES
    from kspde.papers.studies import MEASURES

    case, study = json_schema("case"), json_schema("study")
    contents = {
        "{CASE}": (ROOT / "kspde" / "cases" / "demo.toml").read_text(encoding="utf-8").strip(),
        "{MODELS}": (DEMOS / "cases" / "my_models.py").read_text(encoding="utf-8").strip(),
        "{MODELS_CASE}": (DEMOS / "cases" / "my_models.toml").read_text(encoding="utf-8").strip(),
        "{STUDY}": (DEMOS / "studies.toml").read_text(encoding="utf-8").strip(),
        "{LOCAL_LIMIT}": (DEMOS / "local_limit.toml").read_text(encoding="utf-8").strip(),
        "{CASE_TABLES}": "\n".join(line for key in case["properties"] if key != "t_end" for line in section(case, key)),
        "{STUDY_TABLES}": "\n".join(
            line for key in ("measure", "fits", "precision", "finding") for line in section(study, key)
        ),
        "{QUANTITIES}": "\n".join(
            f"| `{kind}` | {', '.join(f'`{name}`' for name in measure.quantities)} |"
            for kind, measure in MEASURES.items()
        ),
        "{EXCEPTIONS}": "\n".join(f"| `{name}` | {cell(reason)} |" for name, reason in sorted(NOT_IN_FILES.items())),
    }
    pages = {name: (ROOT / "book" / f"{name}.md").read_text(encoding="utf-8") for name in ("case_files", "study_files")}
    for name in pages:
        for mark, content in contents.items():
            pages[name] = pages[name].replace(mark, content)
    return pages


def page_of_size() -> str:
    """Return the chapter on size, in Markdown, with the tables that tests/benchmarks/size.py has written."""
    results = (ROOT / "tests" / "benchmarks" / "results" / "size.md").read_text(encoding="utf-8")
    page = (ROOT / "book" / "size.md").read_text(encoding="utf-8")
    for mark, table in zip(("{CALLS}", "{MEMORY}", "{PREDICTED}"), results.split("\n## ")[1:], strict=True):
        page = page.replace(mark, table.partition("\n")[2].strip())
    return page


def section(schema: dict[str, Any], name: str) -> list[str]:
    """Return a section of case or study files, in Markdown: a table of keys for each ``kind``."""
    about = schema["properties"][name]
    array = about.get("type") == "array"
    out = ["", f"### `[[{name}]]`" if array else f"### `[{name}]`", "", sentence(about["description"])]
    for table in tables_of(schema, about):
        out += keys(table)
        for key, inner in table["properties"].items():
            if key != "v0":  # as [initial]
                out += [line for below in tables_of(schema, inner) for line in keys(below, f"in `{key}`, ")]
    return out


def tables_of(schema: dict[str, Any], about: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the tables that may stand at a place of a file."""
    place = about.get("items", about)
    references = [each["$ref"] for each in place.get("oneOf", [place]) if "$ref" in each]
    return [schema["$defs"][reference.rsplit("/", 1)[1]] for reference in references]


def keys(table: dict[str, Any], where: str = "") -> list[str]:
    """Return the keys of a table, in Markdown."""
    rows = dict(table["properties"])
    kind = rows.pop("kind", None)
    out = [] if kind is None else ["", f"{where}`kind = {json.dumps(kind['const'])}`: {sentence(table['description'])}"]
    required = {*table.get("required", ()), *table.get("$comment", "").partition(": ")[2].split(", ")}
    if rows:
        out += ["", "| key | type | default | meaning |", "| --- | --- | --- | --- |"]
    for name, about in rows.items():
        default = f"`{json.dumps(about['default'], ensure_ascii=False)}`" if "default" in about else "–"
        default = "required" if name in required else default
        out.append(f"| `{name}` | {type_of(about)} | {default} | {cell(about['description'])} |")
    return out


def type_of(about: dict[str, Any]) -> str:
    """Return the type of a key in words, or its values."""
    if "enum" in about:
        return ", ".join(f"`{json.dumps(value)}`" for value in about["enum"])
    either = about.get("oneOf", about.get("anyOf", ()))
    if either and all("type" in each for each in either):
        return " or ".join(type_of(each) for each in either)
    if {"oneOf", "$ref"} & set(about):
        return "table"
    if about["type"] == "array":
        inner = about["items"]
        below = "table" if {"oneOf", "$ref"} & set(inner) else type_of(inner)
        return (
            f"array of {below}s" if not below.startswith("array") else f"array of {below.replace('array', 'arrays', 1)}"
        )
    return {"boolean": "true or false", "object": "table"}.get(about["type"], about["type"])


def cell(text: str) -> str:
    """Return a text with its formulas set, for a cell of a table; code and TeX stay as they are."""
    parts = re.split(r"(\$[^$]+\$|`[^`]+`)", text)
    parts[1::2] = [part.replace("|", r"\vert " if part[0] == "$" else r"\|") for part in parts[1::2]]
    parts[::2] = [typeset(part) for part in parts[::2]]
    return "".join(parts)


def sentence(text: str) -> str:
    """Return a description as a sentence."""
    return cell(f"{text[0].upper()}{text[1:]}.")


def readme() -> str:
    """Return the README with its links to files of the repository turned into links inside the book, or into names."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    text = text.replace("# kspde\n", "# Getting started\n", 1)
    text = re.sub(r"\[([^\]]+)\]\(demos/(\w+)\.py\)", r"[\1](demos/\2.ipynb)", text)
    text = text.replace("[demos/ledger.md](demos/ledger.md)", "[This chapter](ledger.md)")

    def outside(link: re.Match[str]) -> str:
        words, target = link[1], link[2]
        return f"`{target}`" if words.strip("/") == target else f"{words}: `{target}`"

    text = re.sub(r"(?<!!)\[([^\]]+)\]\((?!http|demos/\w+\.ipynb|ledger\.md|#)([^)]+)\)", outside, text)
    return formulas(text)


def assemble(directory: Path) -> None:
    """Write conf.py, all chapters and what the demos read into a directory, which is made anew."""
    if directory.exists():
        shutil.rmtree(directory)
    shutil.copytree(ROOT / "book", directory, ignore=shutil.ignore_patterns("assemble.py", "__pycache__"))
    for folder in ("data", "pictures"):
        shutil.copytree(DEMOS / folder, directory / "demos" / folder)
    shutil.copytree(ROOT / "meshes", directory / "meshes")
    for case in ("observed_cells.toml", "studies.toml"):
        shutil.copy(DEMOS / case, directory / "demos")
    for demo in demos():
        nbformat.write(notebook(demo), directory / "demos" / f"{demo.stem}.ipynb")
    (directory / "ledger.md").write_text(ledger(), encoding="utf-8")
    (directory / "findings.md").write_text(findings(), encoding="utf-8")
    for name, text in pages_of_files().items():
        (directory / f"{name}.md").write_text(text, encoding="utf-8")
    (directory / "size.md").write_text(page_of_size(), encoding="utf-8")
    (directory / "readme.md").write_text(readme(), encoding="utf-8")


def add_mathjax(directory: Path) -> None:
    """Copy MathJax, one file that draws all characters itself, to where conf.py expects it."""
    spec = importlib.util.find_spec("mathjax")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit('the book needs MathJax: pip install "kspde[book]"')
    package = Path(spec.submodule_search_locations[0])
    shutil.copy(package / "static" / "mathjax" / "es5" / "tex-svg.js", directory / "static" / "mathjax.js")


if __name__ == "__main__":
    assemble(Path(sys.argv[1]))
    add_mathjax(Path(sys.argv[1]))
