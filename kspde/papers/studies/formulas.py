r"""Formulas and symbols, which pictures and reports show in place of the names of columns.

Formulas are written once, as Unicode text with TeX's marks for subscripts and superscripts (``‖u_{N,1} − u^ε‖_{L^1}``),
and typeset from it for a picture (:func:`mathtext`) or for HTML (:func:`html`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape
from typing import Any

__all__ = ["PARAMETERS", "Formula", "html", "label_of", "lowered", "mathtext", "sentence", "symbol_of", "text_of"]

#: Swept parameters by short name: the symbol, and the label of an axis. Others go by their name.
PARAMETERS: Mapping[str, tuple[str, str]] = {
    "alpha": ("α", "exponent α"),
    "b": ("b", "density b of the driver"),
    "cells": ("cells", "cells per direction"),
    "centre": ("c", "centre c of the bumps"),
    "chi": ("χ", "strength χ"),
    "degree": ("degree", "degree of the elements"),
    "dt": ("Δt", "time step Δt"),
    "eps": ("ε", "width ε of the mollifier"),
    "gamma": ("γ", "exponent γ of ε"),
    "mean": ("u\N{COMBINING MACRON}", "mean density u\N{COMBINING MACRON}"),
    "mu": ("μ", "screening μ"),
    "n": ("N", "number of particles N"),
    "t_end": ("T", "final time T"),
    "tol": ("tolerance", "tolerance of a time step"),
}

_TEX = {
    "α": r"\alpha ",
    "γ": r"\gamma ",
    "δ": r"\delta ",
    "ε": r"\varepsilon ",
    "η": r"\eta ",
    "μ": r"\mu ",
    "ν": r"\nu ",
    "ρ": r"\rho ",
    "σ": r"\sigma ",
    "χ": r"\chi ",
    "ψ": r"\psi ",
    "Δ": r"\Delta ",
    "Σ": r"\Sigma ",
    "∇": r"\nabla ",
    "‖": r"\|",
    "−": "-",
    "≠": r"\neq ",
    "∞": r"\infty ",
    "∫": r"\int ",
    "·": r"\cdot ",
}
_HAT = "\N{COMBINING CIRCUMFLEX ACCENT}"
_ACCENT = f"\N{COMBINING OVERLINE}|\N{COMBINING MACRON}|{_HAT}"
#: A letter with a bar or a hat; a name of three or more letters, such as sup; a sign; a space, with the operator at it.
_ATOM = re.compile(
    rf"(?P<letter>\w)(?P<accent>{_ACCENT})|(?P<name>[A-Za-z]{{3,}})|(?P<sign>[{''.join(_TEX)}])"
    "|(?P<space>(?<![−/·>]) (?![−/·>]))| "
)


class Formula(str):
    """Text in a table that :func:`html` sets."""


def symbol_of(parameter: str) -> str:
    """Return the symbol of a swept parameter."""
    return PARAMETERS.get(parameter, (parameter.replace("_", " "), ""))[0]


def label_of(values: Mapping[str, Any], *, symbols: bool = True) -> str:
    """Return the values of parameters in a line, by their symbols or by their names."""
    return ", ".join(f"{symbol_of(name) if symbols else name} = {text_of(value)}" for name, value in values.items())


def text_of(value: Any) -> str:
    """Return the value of a parameter as text: whole numbers in full, others to four digits."""
    if not isinstance(value, (int, float)):
        return str(value)
    return f"{value:,.0f}" if abs(value) < 1e15 and value == round(value) else f"{value:.4g}"


def mathtext(formula: str) -> str:
    """Return a formula for matplotlib; words at its beginning, such as "bound on", are set as text."""
    words = re.match(r"(?:[a-z]+ )*", formula)
    start = words.end() if words else 0

    def atom(found: re.Match[str]) -> str:
        if found["letter"]:
            return rf"\{'hat' if found['accent'] == _HAT else 'bar'}{{{found['letter']}}}"
        if found["name"]:
            return rf"\mathrm{{{found['name']}}}"
        if found["sign"]:
            return _TEX[found["sign"]]
        return r"\," if found["space"] else ""

    return f"{formula[:start]}${_ATOM.sub(atom, formula[start:])}$"


def sentence(text: str) -> str:
    """Return words for matplotlib: those with marks or Greek letters, and single capitals, become formulas."""
    return " ".join(_token(token) for token in text.split(" "))


def _token(token: str) -> str:
    body = token.rstrip(",.;:")
    if re.search(rf"[_^{''.join(_TEX)}]|{_ACCENT}", body):
        return mathtext(body) + token[len(body) :]
    return re.sub(r"^[B-HJ-Z](?![^\W_])", lambda letter: f"${letter[0]}$", token)  # "A" and "I" are words


#: Subscripts and superscripts, with or without braces: indices, a number or letter with its sign, (3/4).
_LOW = r"_(?:\{([^{}]*)\}|(ij|\d+|[^\W_]|\*|∞)(?![A-Za-z]))"
_HIGH = r"\^(?:\{([^{}]*)\}|\(((?:[^()]|\([^()]*\))*)\)|([−-]?\d+(?:\.\d+)?|[−-]?[^\W_]|⊗\w|\*|∞))"


def html(formula: str) -> str:
    """Return a formula, or words with formulas, as HTML."""
    return lowered(escape(formula, quote=False))


def lowered(text: str) -> str:
    """Return a text with subscripts and superscripts as HTML tags."""

    def marked(found: re.Match[str]) -> str:
        tag = "sub" if found[0].startswith("_") else "sup"
        return f"<{tag}>{''.join(filter(None, found.groups()))}</{tag}>"

    while (next_text := re.sub(f"{_LOW}|{_HIGH}", marked, text)) != text:  # from the inside
        text = next_text
    return text
