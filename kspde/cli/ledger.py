"""The ledger as text, HTML, Markdown or JSON."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from html import escape
from pathlib import Path
from typing import Any

from kspde._version import __version__
from kspde.cli.results import SUMMARY
from kspde.errors import InputError
from kspde.papers.ledger import Row, claims, rows_of
from kspde.papers.studies import agreement_of
from kspde.papers.studies.formulas import Formula
from kspde.papers.studies.outcome import by_chance
from kspde.papers.studies.report import html_table, page
from kspde.runtime.files import read_json, shipped

__all__ = ["agreement_line", "ledger_text", "read_results"]

_TITLE = "Ledger: what the papers promise and what is measured"
_RULE = (
    "A rate is supported where the 95 % interval of the fitted order reaches the promise (less 5 % of it), "
    "contradicted where it does not, not resolved where it may. An inequality or a printed number is judged by a "
    "ratio that must be at most 1, an expected constant by whether its interval lies within 5 % of it. "
    "Supported is said of the parameters that were computed; it never means proved."
)
_COLUMNS = tuple(field.name for field in fields(Row))


def read_results(directories: Sequence[Path]) -> dict[str, Mapping[str, Any]]:
    """Return the summaries of studies by name: those that come with kspde, those given in their place.

    Args:
        directories: results of ``kspde study``.

    Raises:
        InputError: a directory does not hold the result of a study, or no claim asks for it.
    """
    files = shipped("papers/studies/results", ".json")
    out = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in files.items()}
    for directory in directories:
        try:
            summary = read_json(directory / SUMMARY)
            name = str(summary["study"])
            asking = [claim for claim in claims() if name == getattr(claim.evidence, "study", None)]
            rows_of(asking, {name: summary})  # what is missing in the file, or of another kind, shows here
            _origins({name: summary})
        except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError):
            raise InputError(
                f"{directory} holds no result of a study: give a directory that kspde study has finished"
            ) from None
        if not asking:
            raise InputError(
                f"{directory} holds the study {name}, which no claim of the ledger asks for: give results of "
                f"{', '.join(out)}"
            )
        out[name] = summary
    return out


def agreement_line(directory: Path, other: Path | None) -> str:
    """Return in a line whether two results of a study agree.

    Args:
        directory: results of ``kspde study``.
        other: others; None for those that come with kspde.

    Raises:
        InputError: a directory does not hold the result of a study, or they have nothing to compare.
    """
    first = _summary(directory)
    second = read_results([]).get(str(first["study"])) if other is None else _summary(other)
    try:
        if second is None:
            raise ValueError
        found = agreement_of(first, second)
    except InputError as error:
        raise InputError(f"{directory}: {error}") from None
    except (ValueError, LookupError, TypeError, AttributeError):
        raise InputError(
            f"{directory} has no numbers in common with those of other seeds: give another result of the same study, "
            "run with --seed"
        ) from None
    verdict = "agree" if found.agrees else "do not agree"
    worst = f"the largest of {found.compared} differences is {found.z:.2f} standard errors, {found.worst}"
    return (
        f"{first['study']}: the results {verdict}; {worst}; probability by chance at most {found.probability:.2g}; "
        f"numbers without errors differ by {found.inexact:.1g} of their size at most"
    )


def _summary(directory: Path) -> Mapping[str, Any]:
    try:
        content: Mapping[str, Any] = read_json(directory / SUMMARY)
        content["study"], content["points"]
    except (OSError, ValueError, LookupError, TypeError):
        raise InputError(
            f"{directory} holds no result of a study: give a directory that kspde study has finished"
        ) from None
    return content


def ledger_text(results: Mapping[str, Mapping[str, Any]], out: Path | None) -> str:
    """Return the ledger in the format that the file's name asks for; for a terminal without a file.

    Raises:
        InputError: another format.
    """
    formats = {".html": _html, ".md": _markdown, ".json": _json}
    if out is not None and out.suffix not in formats:
        raise InputError(f"--out {out} is not valid: give a file that ends in {', '.join(formats)}")
    rows = rows_of(claims(), results)
    return (_terminal if out is None else formats[out.suffix])(rows, results)


def _terminal(rows: Sequence[Row], results: Mapping[str, Mapping[str, Any]]) -> str:
    lines = [_TITLE, ""]
    for row in rows:
        lines.append(f"{row.verdict:<13} {row.source}, {row.number}")
        measured = " ".join(part for part in (row.measured, row.interval) if part)
        for label, text in (("promised", row.promised), ("measured", measured), ("erratum", row.erratum)):
            if text:
                lines += textwrap.wrap(text, 118, initial_indent=f"  {label:<9} ", subsequent_indent=" " * 12)
        if row.command:
            lines.append(f"  {'command':<9} {row.command}")
    counts = {verdict: sum(row.verdict == verdict for row in rows) for verdict in sorted({r.verdict for r in rows})}
    lines += ["", ", ".join(f"{count} {verdict}" for verdict, count in counts.items())]
    lines += [line for text in (_RULE, _chance(rows)) for line in textwrap.wrap(text, 118)]
    return "\n".join([*lines, *_origins(results)])


def _chance(rows: Sequence[Row]) -> str:
    """Return how many rows chance alone would contradict."""
    return by_chance(sum(bool(row.interval) for row in rows))


def _origins(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return where the measured values come from, one line per study."""
    out = []
    for name, summary in results.items():
        about = summary.get("provenance", {})
        out.append(
            f"{name}: {summary.get('setting', '')} setting, kspde {summary.get('kspde', '')}, {about.get('date', '')}, "
            f"{about.get('ranks', '?')} ranks"
        )
    return out


def _html(rows: Sequence[Row], results: Mapping[str, Mapping[str, Any]]) -> str:
    parts = [f"<h1>{escape(_TITLE)}</h1>", f"<p>{escape(_RULE)}</p>", f"<p>{escape(_chance(rows))}</p>"]
    parts.append(html_table(_COLUMNS, [tuple(_cell(*item) for item in asdict(row).items()) for row in rows]))
    parts += ["<h2>Where the numbers come from</h2>", *(f"<p>{escape(line)}</p>" for line in _origins(results))]
    return page(_TITLE, parts)


def _cell(column: str, text: str) -> str:
    return Formula(text) if column in ("number", "promised", "measured", "erratum") else text


def _markdown(rows: Sequence[Row], results: Mapping[str, Mapping[str, Any]]) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    table = [line(_COLUMNS), line(["---"] * len(_COLUMNS)), *(line(tuple(asdict(row).values())) for row in rows)]
    origins = [f"- {text}" for text in _origins(results)]
    head = [f"# {_TITLE}", "", _RULE, "", _chance(rows), ""]
    return "\n".join([*head, *table, "", "Where the numbers come from:", "", *origins, ""])


def _json(rows: Sequence[Row], results: Mapping[str, Mapping[str, Any]]) -> str:
    content = {
        "kspde": __version__,
        "rule": _RULE,
        "chance": _chance(rows),
        "rows": [asdict(row) for row in rows],
        "results": {name: summary.get("provenance", {}) for name, summary in results.items()},
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
