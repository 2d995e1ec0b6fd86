"""Write observed_cells.csv: the cell positions of a colony assay that never took place.

Two drops of cells are seeded at a distance; cells settle around the drops' centres, more loosely in the second, and a
few stragglers lie between and around. Positions are what a tracking program would give: a number for each cell and its
centre to three digits. The same numbers come out whenever this is run:

    python demos/data/make_observed_cells.py
"""

from pathlib import Path

import numpy as np

HEADER = """\
# Cell positions in a two-patch colony assay: SYNTHETIC, drawn by demos/data/make_observed_cells.py (seed 2024).
# No cell was observed. Unit of length: the range 1/mu of the chemotactic signal. Licence: MIT, as kspde itself.
cell,x,y
"""


def positions(seed: int = 2024) -> np.ndarray:
    """Return the cells' centres, shape (400, 2)."""
    random = np.random.Generator(np.random.PCG64(seed))
    dense = random.normal((-1.4, 0.3), (0.55, 0.45), (230, 2))
    angle, radius = (
        random.uniform(0, 2 * np.pi, 150),
        0.9 * np.sqrt(random.uniform(0.05, 1, 150)),
    )
    loose = np.stack(
        [1.6 + radius * np.cos(angle), -0.4 + 1.3 * radius * np.sin(angle)], axis=1
    )
    stragglers = random.uniform((-3.0, -2.0), (3.0, 2.0), (20, 2))
    return random.permutation(np.concatenate([dense, loose, stragglers]))


if __name__ == "__main__":
    rows = "".join(
        f"{i},{x:.3f},{y:.3f}\n" for i, (x, y) in enumerate(positions(), start=1)
    )
    Path(__file__).with_name("observed_cells.csv").write_text(
        HEADER + rows, encoding="utf-8"
    )
