"""What a scheme in time is, what it is given, and the loop of the schemes that take their own steps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol, Self

import numpy as np

from kspde.domains import Domain
from kspde.errors import ConvergenceError, InputError, check_number, shown
from kspde.fem.coefficients import CoefficientError
from kspde.fem.monitors.trust import cell_peclet, negative_values, warn_of_negative_values
from kspde.fem.observer import Observer, RunState
from kspde.fem.resume import CheckpointWriter
from kspde.fem.schemes.step_control import FixedStep
from kspde.fem.semidiscretisation import Semidiscretisation
from kspde.runtime.limits import check_steps
from kspde.typing import Array

__all__ = [
    "CONCENTRATES",
    "Run",
    "Scheme",
    "Steps",
    "ToleranceScheme",
    "failing",
    "follow_growth",
    "march",
    "row_tolerances",
]

#: What to try where a scheme with step control fails.
CONCENTRATES = (
    ". The density may concentrate, or the coefficients are not finite: try a finer mesh, a larger eps, or "
    'scheme="positive"'
)

#: The largest L² norm of a density that grows.
_LARGEST = 1e100

#: What a parameter of a scheme may be.
_LIMITS: dict[str, dict[str, float]] = {"tol": {"above": 0, "below": 1}, "dt": {"above": 0}}


@dataclass
class Run:
    """What a scheme integrates.

    Attributes:
        system: the semidiscretisation.
        state: where the run stands, at t = 0 or at a checkpoint; the scheme advances it.
        observer: records the start and every accepted step.
        writer: writes checkpoints.
        options: PETSc options.
        started: called when the scheme's set-up is over.
    """

    system: Semidiscretisation
    state: RunState
    observer: Observer
    writer: CheckpointWriter
    options: dict[str, Any]
    started: Callable[[], None]

    @property
    def t_end(self) -> float:
        """The final time."""
        return self.observer.times[-1]

    def begin(self) -> None:
        """Record the start, unless the run resumes. Collective."""
        self.started()
        if not self.state.step:
            self.observer(self.state)

    def record(self) -> None:
        """Record an accepted step. Collective.

        Raises:
            BlowUpError: a density has blown up.
            StoppedError: a signal has come, and a checkpoint is written.
        """
        self.observer(self.state)
        if self.observer.crossing is None:  # else the step is taken again
            self.writer(self.state)


class Scheme(ABC):
    """A scheme in time; subclasses are frozen dataclasses of its parameters.

    Attributes:
        name: what ``solve`` calls it.
        earlier: other spellings of the name, which are accepted.
        scheme_of: the function whose schemes these are.
        order: its order in time, of the adaptive scheme the lower of two; of positive schemes in space too, where drift
            dominates and u is smooth.
        positive: whether it keeps u ≥ 0 for every step, on elements of degree 1.
        tol: the tolerance of its step control; None with a fixed step.
        dt: its fixed step; None with step control.
        node_bytes: the memory that it takes per node (``kspde.fem.memory``): vectors on a Box, matrices on a Box in two
            dimensions, and both on a mesh of degree 1; until it is measured, more than any other scheme.

    Raises:
        InputError: ``tol`` or ``dt`` is out of range, missing, or given beside the other.
    """

    name: ClassVar[str]
    earlier: ClassVar[tuple[str, ...]] = ()
    __dataclass_fields__: ClassVar[dict[str, Any]]
    scheme_of: ClassVar[str] = "solve"
    order: ClassVar[int] = 1
    positive: ClassVar[bool] = False
    node_bytes: ClassVar[tuple[float, float, float]] = (205.0, 460.0, 1200.0)
    tol: float | None = None
    dt: float | None = None

    @property
    def estimates_time_error(self) -> bool:
        """Whether its steps put an estimate of their error into ``RunState.time_error``."""
        return False

    def __post_init__(self) -> None:
        takes = [name for name in _LIMITS if name in self.__dataclass_fields__]
        given = {name: getattr(self, name) for name in takes if getattr(self, name) is not None}
        if len(takes) == 2 and not given:
            raise InputError(f"neither dt nor tol is given: {self.name} needs a fixed step > 0, or a tolerance")
        if len(given) == 2:
            raise InputError(
                f"dt = {shown(self.dt)} has no effect beside tol = {shown(self.tol)}: leave one of them out"
            )
        if takes and not given:
            needed = "step > 0" if takes == ["dt"] else "tolerance"
            raise InputError(f"{takes[0]} is not given: the {self.name} scheme needs a {needed}")
        for name, value in given.items():
            object.__setattr__(self, name, check_number(name, value, **_LIMITS[name]))

    @classmethod
    def of(cls, tol: float | None, dt: float | None) -> Self:
        """Return the scheme with the ``tol`` and ``dt`` given beside its name.

        Raises:
            InputError: one of them has no effect, is missing, or is not valid.
        """
        given = {name: value for name, value in (("tol", tol), ("dt", dt)) if value is not None}
        for name, value in given.items():
            if name not in cls.__dataclass_fields__:
                needed = "".join(f" and give {other}" for other in cls.__dataclass_fields__ if other not in given)
                raise InputError(
                    f"{name} = {shown(value)} has no effect on the {cls.name} scheme: leave it out{needed}, or use "
                    'scheme="positive-2"'
                )
        return cls(**given)

    def check(self, domain: Domain, t_end: float) -> None:
        """Refuse a domain or a final time that the scheme cannot be used with.

        Raises:
            InputError: too many steps, or a degree other than 1.
        """
        if self.dt is not None:
            check_steps(t_end, self.dt)
        if self.positive and domain.degree != 1:
            raise InputError(
                f"degree = {domain.degree} is not valid for the positive schemes: use a domain with degree=1"
            )

    def compared(self, t_end: float) -> tuple[tuple[Self, float] | None, tuple[Self, float] | None]:
        """Return a cheaper and a more accurate scheme, each with the error in units of the difference of their results.

        A fixed step is twice as long, and there is no more accurate one. With step control the tolerance is ten times
        as large and a tenth: where steps are few, errors do not follow a larger one. A tolerance that bounds the error
        of every step bounds that of all of them to the power q/(q + 1).

        Raises:
            InputError: the step is the only one.
        """
        if self.dt is None:
            tol, ratio = self.tol or 1.0, 10.0 ** (self.order / (self.order + 1))
            cheaper = (replace(self, tol=10.0 * tol), 1.0 / (ratio - 1.0)) if tol <= 1e-3 else None
            return cheaper, (replace(self, tol=0.1 * tol), ratio / (ratio - 1.0))
        dt = min(2.0 * self.dt, t_end)
        if dt < 1.01 * self.dt:
            raise InputError(f"dt = {self.dt:g} is the whole time: give a smaller one")
        return (replace(self, dt=dt), 1.0 / ((dt / self.dt) ** self.order - 1.0)), None

    @abstractmethod
    def integrate(self, run: Run) -> dict[str, Any]:
        """Integrate to ``run.t_end``, and return a summary. Collective.

        Raises:
            InputError: PETSc does not know an option.
            ConvergenceError: a step failed.
        """

    def review(self, run: Run, table: dict[str, Array]) -> dict[str, Any]:
        """Warn where a finished run is not to be trusted, and return what its summary says of that. Collective."""
        return {}


class ToleranceScheme(Scheme):
    """A scheme with step control, for any degree and domain, which may undershoot u = 0.

    Attributes:
        tol: the tolerance: the local error of a step stays below ``tol`` times the norm of the initial density, in L²;
            with growth, times the largest L² norm until then.
    """

    tol: float

    def review(self, run: Run, table: dict[str, Array]) -> dict[str, Any]:
        """Warn of negative values."""
        worst = negative_values(run.system.model.species, self.tol, table)
        if worst is None:
            return {"negative": None}
        peclet = float(cell_peclet(run.system, run.state.unknowns, run.state.t).max())
        warn_of_negative_values(worst, peclet, run.system.space.comm)
        return {"negative": worst, "cell_peclet": peclet}


class Steps(Protocol):
    """A one-step method, as ``march`` uses it."""

    #: What the message of a failed step advises.
    advice: str

    def attempt(self, state: RunState, tau: float) -> float:
        """Compute a step of length ``tau``; return its local error in units of what is allowed. Collective."""

    def reject(self) -> None:
        """Discard the step."""

    def accept(self, state: RunState, tau: float, *, saved: bool) -> None:
        """Put the unknowns after the step, and what belongs to them, into ``state``. Collective.

        Args:
            state: with the new t and step already.
            tau: the length of the step.
            saved: whether it ends at a saved time.
        """


def march(run: Run, steps: Steps, control: FixedStep) -> None:
    """Take steps until ``run.t_end``, or until the run is handed over, or pauses. Collective.

    Raises:
        ConvergenceError: names the step, t, dt and the reason.
    """
    state, observer = run.state, run.observer
    while state.t < run.t_end and not (state.handed_over or state.paused):
        due = observer.next_time - state.t
        tau = control.length(due)
        with failing(state.step + 1, state.t, tau, steps.advice):
            error = steps.attempt(state, tau)
        accepted = control.accepts(error, tau)
        if accepted:
            state.t = observer.next_time if tau == due else state.t + tau
            state.step += 1
            state.dt = control.natural
            with failing(state.step + 1, state.t, control.dt, steps.advice):
                steps.accept(state, tau, saved=tau == due)
            run.record()
        else:
            steps.reject()
        with failing(state.step + 1, state.t, control.dt, steps.advice):
            control.refuse_short(state.t, accepted=accepted)


@contextmanager
def failing(step: int, t: float, dt: float, advice: str) -> Iterator[None]:
    """Add step, t and dt to the message of a ``ConvergenceError``, and advice unless a coefficient is to blame."""
    try:
        yield
    except ConvergenceError as error:
        advice = "" if isinstance(error, CoefficientError) else advice
        raise type(error)(
            f"the solve failed in step {step} at t = {t:.6g} with dt = {dt:.3g}: {error}{advice}"
        ) from None


def row_tolerances(tol: float, norms: Array) -> Array:
    """Return the local errors allowed to unknowns: each by its own norm, one that vanishes (χ = 0) by the largest."""
    return tol * np.where(norms > 0, norms, norms.max())


def follow_growth(system: Semidiscretisation, state: RunState, norms: Array) -> Array:
    """Return the largest norms until now, to which tolerances refer where the model has growth. Collective.

    Beside a density that has grown 1e10 times, an error of ``tol`` times the initial one is below rounding.

    Raises:
        CoefficientError: a density beyond 1e100.
    """
    state.norms = largest = norms if state.norms is None else np.maximum(state.norms, norms)
    grown = np.flatnonzero(~(norms[: len(system.model.species)] <= _LARGEST))
    if len(grown):
        u = state.unknowns[grown[0]]
        low, high = system.space.maximum(np.array([-u.min(initial=0.0), u.max(initial=0.0)]))
        beyond = f"beyond {_LARGEST:g}: end earlier, or check the model's growth"
        if not high >= low:
            beyond = f'below -{_LARGEST:g}: of what elements leave below 0; use degree=1 and scheme="positive-2"'
        raise CoefficientError(f"the density of species {system.model.species[grown[0]]!r} grows {beyond}")
    return largest
