"""Steps of particles with singular kernels: bias in dt, order of the drift, times of collapse.

Run as ``python tests/benchmarks/close_pairs.py``; it writes results/close_pairs.md in some minutes.
"""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np
from mpi4py import MPI
from scipy.stats import gamma

import kspde
from kspde.particles.fields import FieldOptions
from kspde.particles.schemes import scheme_of
from kspde.particles.system import System
from kspde.runtime.random import Philox

COMM = MPI.COMM_SELF


def system(model, x, w, seed=0):
    """Return the particles at x with weights w, whose fields are sums over all pairs."""
    n = len(x)
    evaluator = FieldOptions(method="direct").evaluator(
        model.regularised_fields(), dimension=model.dimension, weights={"u": w}, comm=COMM
    )
    return System(
        model=model,
        evaluator=evaluator,
        positions={"u": x.copy()},
        ids={"u": np.arange(n, dtype=np.uint64)},
        counts={"u": n},
        noise=Philox(seed),
        comm=COMM,
    )


def run(particles, scheme, h, steps, look=lambda step: None):
    """Take steps."""
    scheme = scheme_of(scheme, h)
    for step in range(steps):
        particles.observe()
        particles.prepare(step * h)
        look(step)
        scheme.advance(particles, step, step * h, h)


def noise(particles, scheme, step, h, dimension=2):
    """Return the increments √(2D h) ξ of a step with D = 1."""
    ids = particles.ids["u"]
    if scheme == "euler-maruyama":
        return math.sqrt(2 * h) * particles.noise.normals(ids, step, dimension)
    u, w = np.split(particles.noise.normals(ids, step, 2 * dimension), 2, axis=1)
    return math.sqrt(h) * (u + w)


def virial(n, mass, scheme, h, t_end, replicas):
    """Return (d/dt) E|X|² less its exact value, and its standard error: increments without their martingale part."""
    found = []
    exact = 4 - mass / (2 * math.pi) * (1 - 1 / n)
    for replica in range(replicas):
        x = 0.5 * np.random.default_rng(replica).normal(size=(n, 2))
        particles = system(kspde.KellerSegel(chi=1.0), x, mass / n, seed=replica)
        steps = round(t_end / h)
        path = []
        run(particles, scheme, h, steps, lambda _, path=path, p=particles: path.append(p.positions["u"].copy()))
        path.append(particles.positions["u"])
        total = np.sum(path[-1] ** 2) - np.sum(path[0] ** 2)
        for step in range(steps):
            eta = noise(particles, scheme, step, h)
            total -= np.sum(2 * path[step] * eta + eta**2 - 2 * h)
        found.append(total / n / t_end - exact)
    return np.mean(found), np.std(found) / math.sqrt(max(1, replicas - 1))


class Given:
    """Noise of given normals, shape (steps, n, 2d)."""

    def __init__(self, normals):
        self._normals = normals

    def normals(self, ids, step, size):
        """Return those of a step."""
        return self._normals[step]


def lattice(n):
    """Return n vortices of unequal strength, 2π in all, of which no two are closer than a third of a unit."""
    side = math.ceil(math.sqrt(n))
    x = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).reshape(-1, 2)[:n] * 2.2 / side - 1.0
    x = x + 0.1 / side * np.random.default_rng(0).normal(size=x.shape)
    w = np.random.default_rng(1).uniform(0.5, 1.5, n)
    return x, w * 2 * math.pi / w.sum()


def order_without_noise(n, steps=(16, 32, 64, 128), finest=2048):
    """Return the errors at t = 1 of weak-2, root mean square over vortices, against the finest steps."""
    x, w = lattice(n)
    ends = []
    for count in (*steps, finest):
        particles = system(kspde.ViscousVortices(viscosity=0.0), x, w)
        run(particles, "weak-2", 1 / count, count)
        ends.append(particles.positions["u"])
    return [float(np.sqrt(np.mean((y - ends[-1]) ** 2))) for y in ends[:-1]]


def inertia(n, viscosity, h, replicas):
    """Return (d/dt) Σ w|X|²/Σ w of weak-2 less 4ν, t <= 1, and its standard error, as ``virial`` does."""
    x, w = lattice(n)
    found = []
    for replica in range(replicas):
        pair = []
        steps = round(1 / h)
        for sign in (1, -1):
            normals = sign * np.random.default_rng(replica).normal(size=(steps, n, 4))
            particles = system(kspde.ViscousVortices(viscosity=viscosity), x, w)
            particles.noise = Given(normals)
            path = []
            run(particles, "weak-2", h, steps, lambda _, path=path, p=particles: path.append(p.positions["u"].copy()))
            total = w @ np.sum(particles.positions["u"] ** 2 - path[0] ** 2, axis=1)
            for y, uw in zip(path, normals, strict=True):
                eta = math.sqrt(viscosity * h) * (uw[:, :2] + uw[:, 2:])
                total -= w @ np.sum(2 * y * eta + eta**2 - 2 * viscosity * h, axis=1)
            pair.append(total / w.sum() - 4 * viscosity)
        found.append(np.mean(pair))
    return np.mean(found), np.std(found) / math.sqrt(replicas)


def dyson(n, scheme, h, t_end, replicas):
    """Return (d/dt) E|X|² less (N − 1)/N + 2 for the log gas on a line, g = σ = 1, κ = 0, and its error."""
    found = []
    model = kspde.LogGas(strength=1.0, noise=1.0, confinement=0.0, dimension=1)
    for replica in range(replicas):
        particles = system(model, np.sort(np.random.default_rng(replica).normal(size=(n, 1)), axis=0), 1 / n, replica)
        total = 0.0
        for step in range(round(t_end / h)):
            particles.observe()
            particles.prepare(step * h)
            x = particles.positions["u"].copy()
            scheme_of(scheme, h).advance(particles, step, step * h, h)
            eta = noise(particles, scheme, step, h, dimension=1)
            total += np.sum(particles.positions["u"] ** 2 - x**2 - 2 * x * eta - eta**2 + 2 * h)
            particles.sort()
        found.append(total / n / t_end - (n - 1) / n - 2)
    return np.mean(found), np.std(found) / math.sqrt(replicas)


def collapse(n, mass, scheme, h, t_end, replica):
    """Return Σ|X − X̄|² at the start of Keller-Segel particles, std .5, and the time of a report, ∞ for none."""
    u0 = kspde.GaussianMixture(weights=[1.0], means=[[1.0, -0.5]], stds=[0.5], mass=mass)
    starts = []
    save = kspde.SaveAt(times=[0.0, t_end], callback=lambda c: starts.append(c.positions.copy()))
    options = {"scheme": scheme, "method": "direct", "replica": replica, "comm": COMM, "save": save}
    try:
        kspde.simulate(kspde.KellerSegel(chi=1.0), u0, n=n, t_end=t_end, dt=h, on_blow_up="stop", **options)
        t = math.inf
    except kspde.BlowUpError as error:
        t = float(str(error).split(" at t = ")[1].split(":")[0])
    return np.sum((starts[0] - starts[0].mean(axis=0)) ** 2), t


def law_of_collapse(n, mass, scheme, h, t_end, replicas):
    """Return the mean of P(T ≤ t) − its expectation at reported times t ≤ t_end, T = S(0)/(4Γ), and its error."""
    dimension = (n - 1) * (2 - mass / (4 * math.pi))
    found = []
    for replica in range(replicas):
        start, t = collapse(n, mass, scheme, h, t_end, replica)
        at, whole = gamma(1 - dimension / 2).sf(start / (4 * np.array([min(t, t_end), t_end])))
        found.append(at - whole + whole**2 / 2)  # E min(U, whole) = whole − whole²/2
    return np.mean(found), np.std(found) / math.sqrt(replicas)


def collapses(say):
    """Write sections 4 and 5."""
    say("4. Reports of a collapse, χ = D = 1, μ = 0, std .5 (the density of mass 16π blows up at t = .0810)")
    for n, mass, h, t_end, replicas in (
        (1000, 16, 1e-3, 0.16, 4),
        (1000, 16, 2.5e-4, 0.16, 2),
        (1000, 4, 2e-3, 1.0, 2),
        (200, 7.9, 1e-3, 1.0, 3),
        (50, 8.4, 1e-3, 4.0, 6),
        (2, 4, 1e-3, 2.0, 10),
    ):
        for scheme in ("euler-maruyama", "weak-2"):
            times = [collapse(n, mass * math.pi, scheme, h, t_end, replica)[1] for replica in range(replicas)]
            reports = " ".join(f"{t:.3g}" for t in times if t < math.inf) or "none"
            say(f"   N = {n:4d}, M = {mass:g}π, dt = {h:g}, t <= {t_end:g}, {scheme:14s} {replicas} runs: {reports}")
    say()
    say("5. P(T ≤ t) at the reported times t less its mean, of the exact time T of a collapse of all N particles")
    say("   N     M    scheme           h = .004           .001")
    for n, mass in ((2, 10.4), (3, 9.6), (4, 10.0)):
        for scheme in ("euler-maruyama", "weak-2"):
            found = [law_of_collapse(n, mass * math.pi, scheme, h, 0.6, 100) for h in (4e-3, 1e-3)]
            say(f"{n:>4d} {mass:>5g}π   {scheme:14s}" + "".join(f" {b:+8.3f} ± {e:5.3f}" for b, e in found))


def main():
    """Write the table."""
    lines = [f"{time.strftime('%Y-%m-%d %H:%M')}, {__doc__.splitlines()[0]}", ""]

    def say(line=""):
        lines.append(line)
        print(line, flush=True)

    say("1. Bias of (d/dt) E|X|² per Keller-Segel particle, χ = D = 1, μ = 0, std .5, t <= .2 (± standard error).")
    say("   Order expected for a pair: min(1, δ/2), δ = 2 − M/(2πN).")
    say("   N     M    scheme           h = .02            .01               .005              .0025")
    for n, mass, replicas in ((2, 2, 800), (2, 4, 800), (10, 4, 200), (10, 8, 200), (1000, 8, 3)):
        for scheme in ("euler-maruyama", "weak-2"):
            found = [virial(n, mass * math.pi, scheme, h, 0.2, replicas) for h in (0.02, 0.01, 0.005, 0.0025)]
            say(f"{n:>5d} {mass:>4d}π   {scheme:14s}" + "".join(f" {b:8.4f} ± {e:6.4f}" for b, e in found))
    say()
    say("2. weak-2 for separated vortices, t = 1, ΣΓ = 2π")
    for n in (30, 100):
        errors = order_without_noise(n)
        slopes = np.log2(np.array(errors[:-1]) / errors[1:])
        say(f"   ν = 0, N = {n}: errors with 16 … 128 steps " + " ".join(f"{e:.2e}" for e in errors))
        say("      orders " + " ".join(f"{s:.2f}" for s in slopes))
    say("   N = 30: (d/dt) Σ Γ|X|²/ΣΓ less 4ν, in units of 1e-5 (± standard error)")
    for viscosity, replicas in ((0.01, (600, 600, 400)), (0.002, (2000, 2000, 3000)), (5e-4, (2000, 2000, 2000))):
        for h, count in zip((0.25, 0.125, 0.0625), replicas, strict=True):
            b, e = inertia(30, viscosity, h, count)
            say(f"      ν = {viscosity:<6g} h = {h:<7g} {1e5 * b:7.2f} ± {1e5 * e:5.2f}")
    say()
    say("3. The log gas on a line, g = σ = 1: bias of (d/dt) E|X|² = (N − 1)/N + 2, t <= .5")
    for n in (10, 100):
        for scheme in ("euler-maruyama", "weak-2"):
            found = [dyson(n, scheme, h, 0.5, 40) for h in (0.02, 0.01, 0.005)]
            say(f"{n:>7d}        {scheme:14s}" + "".join(f" {b:8.4f} ± {e:6.4f}" for b, e in found))
    say()
    collapses(say)
    Path(__file__).parent.joinpath("results", "close_pairs.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
