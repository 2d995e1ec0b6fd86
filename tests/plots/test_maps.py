"""The colour bars of maps."""

from itertools import pairwise

import numpy as np
import pytest
from matplotlib.figure import Figure

from kspde.plots.maps import draw_bar, draw_image


@pytest.mark.one_rank
@pytest.mark.parametrize("top", [2e-5, 0.0038, 0.038, 0.38, 38.0, 3800.0, 3.8e300])
def test_numbers_under_a_narrow_bar_are_apart(top) -> None:
    figure = Figure(figsize=(7.2, 3.4), layout="constrained")
    panels, axis = figure.subplots(1, 3), np.linspace(-3.0, 3.0, 9)
    image = draw_image(panels[2], (axis, axis), top * np.outer(axis, axis) / 9, vmin=-top, vmax=top)
    draw_bar(figure, image, panels[2], "difference", loc="left")
    figure.canvas.draw()
    ticks = [label for label in figure.axes[-1].get_xticklabels() if abs(label.get_position()[0]) <= top]  # drawn
    ends = [label.get_window_extent() for label in ticks]
    assert len(ticks) >= 3
    between = [right.x0 - left.x1 for left, right in pairwise(ends)]
    assert min(between) > 0.5 * ends[0].height, [label.get_text() for label in ticks]
