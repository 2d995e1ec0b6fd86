"""What is written of a study: its report, one HTML file that loads nothing, and its tidy table as CSV and HDF5."""

from __future__ import annotations

import base64
import csv
import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np

from kspde._version import __version__
from kspde.papers.studies.formulas import Formula, html, label_of, symbol_of, text_of
from kspde.papers.studies.outcome import NOT_RESOLVED, TOLERANCE, Outcome, Rate, by_chance
from kspde.papers.studies.study import GROWING

__all__ = [
    "RATE_COLUMNS",
    "constant_text",
    "filled",
    "html_report",
    "html_table",
    "page",
    "rate_rows",
    "write_csv_table",
    "write_hdf5_table",
]

_STYLE = """
:root { color-scheme: light dark; --text: #222; --ground: #fff; --line: #ddd; --code: #f4f4f4; --quiet: #666;
  --good: #00693e; --bad: #b02a00; }
@media (prefers-color-scheme: dark) { :root { --text: #ddd; --ground: #16181b; --line: #3a3e44; --code: #24282d;
  --quiet: #9a9a9a; --good: #5fc79a; --bad: #ff8f6b; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: var(--text);
  background: var(--ground); overflow-wrap: break-word; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2rem; } .wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: 0.85rem; overflow-wrap: normal; }
th, td { border-bottom: 1px solid var(--line); padding: 0.25rem 0.7rem 0.25rem 0; text-align: left;
  vertical-align: top; }
th { border-bottom: 2px solid #888; } td.number { font-variant-numeric: tabular-nums; white-space: nowrap; }
code, pre { font: 0.85rem/1.4 ui-monospace, monospace; background: var(--code); }
pre { padding: 0.7rem; overflow-x: auto; }
figure { display: inline-block; margin: 0.5rem 1rem 0.5rem 0; max-width: min(28.5rem, 100%); vertical-align: top; }
img { width: 100%; background: #fff; } figcaption { font-size: 0.85rem; }
.supported { color: var(--good); } .contradicted { color: var(--bad); }
.not-resolved, .not-testable { color: var(--quiet); } sub, sup { line-height: 0; }
"""

#: Columns of the table of rates.
RATE_COLUMNS = (
    "quantity",
    "against",
    "at",
    "order",
    "95 % interval",
    "constant",
    "promised",
    "status",
    "verdict",
    "source",
)


def html_report(outcome: Outcome, pictures: Mapping[str, bytes], provenance: Mapping[str, object]) -> str:
    """Return the report.

    Args:
        outcome: the study with its results.
        pictures: the pictures (PNG) by file name.
        provenance: what the results depend on besides the parameters: versions, machine, date.
    """
    study = outcome.study
    parts = [
        f"<h1>{escape(study.title)}</h1>",
        *(f"<p>{escape(paragraph)}</p>" for paragraph in study.about.strip().split("\n\n")),
        f"<p>Setting: {escape(study.setting)}. Run again: <code>{escape(study.command)}</code></p>",
        *(_of_rates(outcome) if outcome.rates else ()),
        "<h2>Pictures</h2>",
        *(_figure(name, picture, _caption(outcome, name)) for name, picture in pictures.items()),
        "<h2>What was measured</h2>",
        html_table(
            ("quantity", "meaning", "name in the tables"),
            [(Formula(what.symbol), Formula(what.words), name) for name, what in outcome.quantities.items()],
        ),
        html_table(*_values(outcome)),
    ]
    if outcome.warnings:
        parts += ["<h2>Warnings of the runs</h2>", *(f"<p>{escape(line)}</p>" for line in outcome.warnings)]
    parts += ["<h2>Provenance</h2>", html_table(("", ""), [(k, _text(v)) for k, v in provenance.items()])]
    return page(study.title, parts)


def _of_rates(outcome: Outcome) -> list[str]:
    judged = sum(bool(rate.promises and rate.order) for rate in outcome.rates)
    columns, *rows = filled([RATE_COLUMNS, *_rates(outcome)])
    table = html_table(columns, rows)
    return ["<h2>Rates</h2>", table, f"<p>{html(_RULE)} {html(by_chance(judged))}</p>"]


_RULE = (
    "Rates are fitted by least squares in log-log; where a value is within four standard errors of zero, by weighted "
    "least squares of all values themselves. "
    "Order p: at most a constant times N^{−p}, ε^p, Δt^p or h^p. Supported: the lower end of "
    f"the 95 % interval of the order reaches the promise, less {TOLERANCE:.0%} of it; contradicted: the upper end does "
    f"not. {NOT_RESOLVED} The verdict says how fast the quantity decays over these values; it neither proves "
    "nor disproves an asymptotic statement."
)


def page(title: str, parts: Sequence[str]) -> str:
    """Return an HTML page that loads nothing."""
    body = "\n".join(parts)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def html_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; a cell that is a verdict gets its colour."""
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join("<tr>" + "".join(_cell(cell) for cell in row) + "</tr>\n" for row in rows)
    return f'<div class="wide"><table>\n<tr>{head}</tr>\n{body}</table></div>'


def _cell(text: str) -> str:
    verdicts = ("supported", "contradicted", "not resolved", "not testable")
    if text in verdicts:
        return f'<td class="{text.replace(" ", "-")}">{text}</td>'
    if isinstance(text, Formula):
        return f"<td>{html(text)}</td>"
    kind = ' class="number"' if text[:1].isdigit() or text[:2] in ("[0", "[-") or text[:1] in "-[" else ""
    return f"<td{kind}>{escape(text)}</td>"


def _rates(outcome: Outcome) -> list[tuple[str, ...]]:
    """Return the rows of the table of rates in symbols."""
    out: list[tuple[str, ...]] = []
    for rate in outcome.rates:
        symbols = (
            Formula(outcome.quantities[rate.fit.quantity].symbol),
            symbol_of(rate.fit.against),
            label_of(rate.group).replace(" = ", "\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}") or "all",
        )
        out += [(*symbols, *row[len(symbols) :]) for row in rate_rows([rate])]
    return out


def constant_text(rate: Rate) -> str:
    """Return the constant at the order that the fit names, with its interval; "" where there is none."""
    found = rate.constant
    if found is None:
        return ""
    text = "{:.4g} [{:.4g}, {:.4g}] at order {:g}".format(found.value, *found.interval, abs(found.slope))
    return text if found.misfit is None or found.misfit >= 0.01 else f"{text}, which does not fit"


def filled(table: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Return a table, whose first row names its columns, without those that are empty in all other rows."""
    kept = [k for k in range(len(table[0])) if any(row[k] for row in table[1:])]
    return [tuple(row[k] for k in kept) for row in table]


def rate_rows(rates: Sequence[Rate]) -> list[tuple[str, ...]]:
    """Return the rows of the table of rates, with quantities by name: one row per rate and promise."""
    out: list[tuple[str, ...]] = []
    for rate in rates:
        if rate.order is None:
            stated = ("none", "the values are statistically indistinguishable from zero")
        else:
            p, (low, high) = rate.order
            stated = (f"{p:.3f}", f"[{low:.3f}, {high:.3f}]")
        first = (rate.fit.quantity, rate.fit.against, rate.label or "all", *stated, constant_text(rate))
        if not rate.promises:
            out.append((*first, "", "", "", ""))
        for promise in rate.promises:
            out.append((*first, f"{promise.order:.4g}", promise.status, promise.verdict, promise.source))
    return out


def _values(outcome: Outcome) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    swept = tuple(outcome.records[0]["swept"])
    rows = [
        (
            *(text_of(record["swept"][name]) for name in swept),
            Formula(outcome.quantities[name].symbol),
            f"{quantity.value:.4g}",
            "" if quantity.error == 0 and not quantity.samples else "[{:.4g}, {:.4g}]".format(*quantity.interval),
            str(len(quantity.samples)) if quantity.samples else "",
        )
        for record in outcome.records
        for name, quantity in record["quantities"].items()
    ]
    return (*map(symbol_of, swept), "quantity", "value", "95 % interval", "replicas"), rows


def _figure(name: str, picture: bytes, caption: str) -> str:
    data = base64.b64encode(picture).decode("ascii")
    image = f'<img alt="{escape(name.removesuffix(".png"))}" src="data:image/png;base64,{data}">'
    return f"<figure>{image}<figcaption>{html(caption)}</figcaption></figure>"


def _caption(outcome: Outcome, name: str) -> str:
    """Return what to see in a picture."""
    shown = [rate for rate in outcome.rates if f"{rate.fit.quantity}-{rate.fit.against}.png" == name]
    marks = "Points are measured values with 95 % intervals"
    if not shown:
        return f"{marks}, dashed lines what a theory says of them."
    text = f"{marks}{', set side by side' if len(shown) > 1 else ''}, dashed lines the fits."
    if any(rate.promises for rate in shown):
        side = "right" if shown[0].fit.against in GROWING else "left"
        text += (
            f" A promise holds here where, to the {side}, they fall at least as fast as its line, or rise no faster."
        )
    return text


def _text(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_text(v)}" for k, v in value.items())
    return str(value)


#: Columns of the tables in words, beside those of swept parameters.
_COLUMNS = {
    "quantity": "name of the quantity",
    "value": "value of the quantity",
    "low": "lower end of the 95 % interval",
    "high": "upper end of the 95 % interval",
    "error": "standard error",
    "replicas": "number of independent replicas",
    "seconds": "wall time of the point",
}


def write_csv_table(outcome: Outcome, path: Path) -> None:
    """Write swept parameters, value, low, high, error, replicas and seconds per point and quantity, with all digits."""
    rows = list(outcome.rows())
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_hdf5_table(outcome: Outcome, path: Path) -> None:
    """Write the same columns as datasets of the group ``table`` (axis ``row``), and the values of all replicas.

    ``samples/<point>/<quantity>``, with the axis ``replica``, holds the replicas of a point; attributes of the group
    are its swept parameters, ``seed`` and ``provenance`` (JSON). Axes are dimension scales, and every array has a
    ``long_name`` and numbers have ``units``: "1", since models are dimensionless, but "s" for seconds. Attributes of
    the file are ``study``, ``setting``, ``measure``, ``kspde_version``, ``quantities`` (JSON: what each quantity
    is, in words), ``parameters`` (JSON: the axes, and all parameters of each point) and ``provenance`` (JSON).
    """
    from kspde.runtime.hdf5 import h5py, write_array, write_parameters

    study, words = outcome.study, {name: what.words for name, what in outcome.quantities.items()}
    rows = list(outcome.rows())
    with h5py.File(path, "w") as file:
        more = {"kspde_version": __version__, "quantities": json.dumps(words)}
        write_parameters(file, study.described(), list(outcome.origins), **more)
        for name in rows[0]:
            column = [row[name] for row in rows]
            text = any(isinstance(value, str) for value in column)
            data = [str(value) for value in column] if text else np.array(column, dtype=np.float64)
            units = "s" if name == "seconds" else "1"
            write_array(file, f"table/{name}", data, _COLUMNS.get(name, f"swept parameter {name}"), "row", units=units)
        for point, record in zip(study.points, outcome.records, strict=True):
            group = file.create_group(f"samples/{point.key}")
            group.attrs.update(dict(point.swept))
            group.attrs.update(seed=record["seed"], provenance=json.dumps(record.get("provenance")))
            replicas = max(len(quantity.samples) for quantity in record["quantities"].values())
            for name, quantity in record["quantities"].items():
                if samples := quantity.samples:
                    axis = "replica" if len(samples) == replicas else f"replica_of_{name}"
                    write_array(group, name, np.array(samples), words[name], axis)
