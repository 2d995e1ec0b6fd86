"""The papers' wing: what their theorems promise, and what is held against it.

- :mod:`kspde.papers.theory`, for users ``kspde.theory``: admissible exponents, sharp constants, norms of kernels, and
  the hypotheses of the theorems, as they are right; errata stand in the docstrings. Both backends warn by it.
- :mod:`kspde.papers.experiment`: a problem with how it is computed, which a case file or a point of a study holds.
- :mod:`kspde.papers.studies`, for users ``kspde.studies``: measures over sweeps of parameters, their rates, and
  verdicts on what is promised of them; with ready-made studies and their results.
- :mod:`kspde.papers.ledger`: every quantitative claim of the sources beside what is computed or measured.
"""
