"""What a finished density run says about itself where it cannot be trusted."""

from __future__ import annotations

from typing import Any

import numpy as np

from kspde.warned import warn

__all__ = ["negative_values", "warn_of_negative_values"]


def negative_values(species: tuple[str, ...], tol: float, diagnostics: dict[str, Any]) -> dict[str, Any] | None:
    """Return the worst value below −10·tol·max u, the maximum at the same time, if there is one."""
    lowest, highest = (np.reshape(diagnostics[name], (-1, len(species))) for name in ("minimum", "maximum"))
    share = -lowest / np.where(highest > 0, highest, 1.0)
    k, i = np.unravel_index(int(np.argmax(share)), share.shape)
    if not share[k, i] > 10.0 * tol:
        return None
    when = float(diagnostics["t"][k])
    return {"species": species[i], "value": float(lowest[k, i]), "maximum": float(highest[k, i]), "t": when, "tol": tol}


def warn_of_negative_values(worst: dict[str, Any], comm: Any) -> None:
    """Warn of the values that ``negative_values`` has found."""
    warn(
        f"{worst['species']} = {worst['value']:.3g} at t = {worst['t']:g} is below -10 tol = {-10 * worst['tol']:.3g} "
        f"times its maximum {worst['maximum']:.3g}, so the mesh does not resolve the density: use a finer one, or "
        'scheme="positive2" with degree=1',
        comm,
    )
