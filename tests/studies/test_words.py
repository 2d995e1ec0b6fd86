"""What readers see in place of the names of columns: in pictures and in the report."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kspde.cli.ledger import read_results
from kspde.cli.results import write_json
from kspde.papers.studies import MEASURES, Outcome, Study, rates_of
from kspde.papers.studies.formulas import PARAMETERS, html, label_of, mathtext, sentence, symbol_of
from kspde.papers.studies.outcome import Rate
from kspde.papers.studies.pictures import pictures_of
from kspde.papers.studies.quantities import Quantity
from kspde.papers.studies.report import html_report
from kspde.papers.studies.study import Fit

#: Names of columns that are no words.
NAMES = {"eps", "gamma", "dt", "n", "l1", "l2"} | {
    name for measure in MEASURES.values() for name in measure.quantities if "_" in name
}


@pytest.mark.parametrize(
    ("formula", "as_html", "as_mathtext"),
    [
        (
            "‖u_{N,1} − u^ε‖_{L^1}",
            "‖u<sub>N,1</sub> − u<sup>ε</sup>‖<sub>L<sup>1</sup></sub>",
            r"$\|u_{N,1}-u^\varepsilon \|_{L^1}$",
        ),
        ("bound on H_N / N", "bound on H<sub>N</sub> / N", "bound on $H_N/N$"),
        ("E max_i |X̄_i|^2", "E max<sub>i</sub> |X̄<sub>i</sub>|<sup>2</sup>", r"$E\,\mathrm{max}_i\,|\bar{X}_i|^2$"),
        ("|X − X̂|", "|X − X̂|", r"$|X-\hat{X}|$"),
        ("a < b & c", "a &lt; b &amp; c", r"a $<\,b\,&\,c$"),
    ],
)
def test_formulas(formula: str, as_html: str, as_mathtext: str) -> None:
    assert html(formula) == as_html
    assert mathtext(formula) == as_mathtext


@pytest.mark.parametrize(
    ("formula", "as_html"),
    [
        ("‖Φ‖_{W^{1,∞}} ≤ C ε^−2", "‖Φ‖<sub>W<sup>1,∞</sup></sub> ≤ C ε<sup>−2</sup>"),
        ("‖ψ‖_∞^2 h_ij, tol^(3/4)", "‖ψ‖<sub>∞</sub><sup>2</sup> h<sub>ij</sub>, tol<sup>3/4</sup>"),
        ("C N^−0.02. H(u_N | u^⊗N)", "C N<sup>−0.02</sup>. H(u<sub>N</sub> | u<sup>⊗N</sup>)"),
        ("eps^-0.87; c_* = 2", "eps<sup>-0.87</sup>; c<sub>*</sub> = 2"),
        ("kspde.entropy_bound, M_inf", "kspde.entropy_bound, M_inf"),
    ],
)
def test_formulas_of_the_ledger(formula: str, as_html: str) -> None:
    assert html(formula) == as_html


def test_words_between_formulas() -> None:
    assert sentence("Least distance of A from N-particle laws, by N^{−α}.") == (
        r"Least distance of A from $N$-particle laws, by $N^{-\alpha }$."
    )
    assert label_of({"gamma": 0.019, "n": 1000, "my_own": "x"}) == "γ = 0.019, N = 1,000, my own = x"


@pytest.mark.one_rank
def test_every_quantity_is_set_without_marks_that_are_left_over() -> None:
    from matplotlib.mathtext import MathTextParser

    parser = MathTextParser("agg")
    for measure in MEASURES.values():
        for name, what in measure.quantities.items():
            for text in (mathtext(what.symbol), sentence(what.words)):
                parser.parse(text)
                assert re.sub(r"\$[^$]*\$", "", text).isascii()
                assert text.isascii(), text
            for text in (html(what.symbol), html(what.words)):
                assert not re.search(r"[_^{}\\]", text)
            assert len(what.symbol) <= 50
            assert name not in (what.symbol, what.words)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Figures that are neither arranged nor written, as tests/plots sees to."""
    from kspde.plots.figure import Picture

    figures: list[Any] = []
    monkeypatch.setattr(Picture, "savefig", lambda self, *_, **__: figures.append(self))
    return figures


@pytest.mark.one_rank
@pytest.mark.parametrize("name", sorted(read_results([])))
def test_pictures_of_shipped_results(name: str, seen: list[Any], tmp_path: Path) -> None:
    from matplotlib.mathtext import MathTextParser

    parser = MathTextParser("path")
    summary = read_results([])[name]
    rates = rates_of(summary)
    # What is read back is what was written, nulls for infinite ends included.
    path = tmp_path / "rates.json"
    write_json(path, {"rates": [rate.summary() for rate in rates]})
    assert json.loads(path.read_text(encoding="utf-8"))["rates"] == summary["rates"]

    assert list(pictures_of(rates, summary["measure"])) == list(
        dict.fromkeys(f"{rate['quantity']}-{rate['against']}.png" for rate in summary["rates"])
    )
    columns = re.compile(rf"\b({'|'.join(NAMES)})\b")
    for figure in seen:
        (axes,) = figure.axes
        (legend,) = figure.legends
        shown = [axes.get_xlabel(), axes.get_ylabel(), axes.get_title(), *(t.get_text() for t in legend.get_texts())]
        assert all(shown)
        for text in legend.get_texts():  # the other texts: above
            parser.parse(text.get_text())
        words = " ".join(re.sub(r"\\[a-z]+", "", re.sub(r"\$[^$]*\$", "", text)) for text in shown)
        assert not columns.search(words), words
    by_symbol = {figure.axes[0].get_ylabel() for figure in seen}
    fitted = {rate["quantity"] for rate in summary["rates"]}
    assert by_symbol == {mathtext(MEASURES[summary["measure"]].quantities[q].symbol) for q in fitted}


@pytest.mark.one_rank
def test_a_floor_that_is_fitted_is_in_the_picture_of_its_quantity(seen: list[Any]) -> None:
    rates = [
        Rate(
            fit=Fit(quantity=name, against="n"),
            group={"gamma": gamma},
            x=(4000.0, 250.0),
            values=tuple(Quantity(value=v, interval=(v, v)) for v in (scale * gamma, 4 * scale * gamma)),
            law=None,
        )
        for name, scale in (("l1", 2.0), ("l1_floor", 1.0))
        for gamma in (0.1, 0.2)
    ]
    pictures_of(rates, "distance")
    dotted = [[line for line in figure.axes[0].lines if line.get_linestyle() == ":"] for figure in seen]
    assert [line.get_ydata().tolist() for line in dotted[0]] == [[0.4, 0.1], [0.8, 0.2], []]
    assert "floor: as many independent draws" in [text.get_text() for text in seen[0].legends[0].get_texts()]
    assert dotted[1] == []


def test_the_report_speaks_in_symbols(
    tiny_file: Callable[..., Path], carried_out: Callable[[Study], Outcome], comm: Any
) -> None:
    from kspde.cli.study import read_study

    outcome = carried_out(read_study(tiny_file()))
    page = html_report(outcome, {}, {})
    heads = [re.findall("<th>(.*?)</th>", table) for table in page.split("<table>")[1:]]
    assert heads[1] == ["quantity", "meaning", "name in the tables"]
    assert heads[2][0] == symbol_of("eps") == PARAMETERS["eps"][0] == "ε"
    norm = "‖u<sup>ε</sup> − u‖<sub>L<sup>1</sup></sub>"
    assert f"<tr><td>{norm}</td><td>ε</td><td>all</td>" in page
    assert page.count(f"<td>{norm}</td>") == 2 + len(outcome.records)
    assert page.count("<td>l1</td>") == 1  # beside its symbol and meaning
