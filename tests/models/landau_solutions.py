"""Exact solutions of Landau's equation for Maxwell molecules, which know nothing of kspde's model."""

import numpy as np

import kspde


def temperature(t, dimension=2, rate=1 / 16, start=None):
    """K of the solution of Bobylev, Krook and Wu, K = 1 − k e^(−2(d−1)Λt), with the largest k unless given."""
    k = 2 / (dimension + 2) if start is None else start
    return 1 - k * np.exp(-2 * (dimension - 1) * rate * t)


def bkw(v, k):
    """The solution of Bobylev, Krook and Wu at the velocities v, shape (n, d), for K = k."""
    d, square = v.shape[1], (v**2).sum(axis=1)
    shape = ((d + 2) * k - d) / (2 * k) + (1 - k) / (2 * k**2) * square
    return (2 * np.pi * k) ** (-d / 2) * np.exp(-square / (2 * k)) * np.maximum(shape, 0.0)


def initial(dimension=2, mean=None, mass=1.0, half_width=9.0):
    """The same as an initial density, at K = d/(d + 2), moved by a mean velocity."""
    mean = np.zeros(dimension) if mean is None else np.asarray(mean)
    return kspde.CallableDensity(
        lambda v: bkw(v - mean, dimension / (dimension + 2)), half_width=half_width, dimension=dimension, mass=mass
    )


def moments_at(t, stress, fourth, mass=1.0, rate=1 / 16):
    """Stress and E|v − v̄|⁴ per unit of mass at a time t, for any start: the moments' equations are closed.

    With A:∇²|v|⁴ + 2B·∇|v|⁴ integrated, P' = 4Λm(tr P I − dP) and q' = −4(d−1)Λm q + Λm[4(d−1)e² + 8(e² − |P|²)],
    e = tr P.
    """
    d, pace = len(stress), mass * rate
    e = np.trace(stress)
    deviation = stress - e / d * np.eye(d)
    slow, fast = 4 * (d - 1) * pace, 8 * d * pace
    end = e**2 * (d + 2) / d
    driven = 8 * pace * np.sum(deviation**2) / (slow - fast) * (np.exp(-fast * t) - np.exp(-slow * t))
    q = end + (fourth - end) * np.exp(-slow * t) - driven
    return e / d * np.eye(d) + deviation * np.exp(-4 * d * pace * t), q
