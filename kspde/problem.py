r"""The problem that both backends solve: a model, where it starts, and how its fields are regularised.

``solve``, ``simulate`` and whatever reads their results agree on one frozen :class:`Problem`: its arguments are checked
once, by :meth:`Problem.of`; two problems are compared by value (:meth:`Problem.differences`); files hold its values
(:meth:`Problem.describe`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, Literal, get_args

from kspde._version import __version__
from kspde.errors import InputError, check_choice, check_number, shown
from kspde.initial import InitialDensity, densities_by_species
from kspde.kernels import Kernel, Mollifier, resolve_mollifier
from kspde.models import Field, Model
from kspde.runtime.values import Difference, differences, values_of

__all__ = ["SCALING", "Initial", "Problem"]

#: What densities and particles start from: u_0, or u_0 * j^ε.
Initial = Literal["u0", "mollified"]

#: What files and tables say of units.
SCALING = "dimensionless: lengths, times and masses in the model's own units"


@dataclass(frozen=True, kw_only=True)
class Problem:
    """An initial-value problem.

    Attributes:
        model: the model.
        u0: the initial density of each species.
        t_end: the final time.
        eps: the mollifier's ε; None for the system that is not regularised.
        mollifier: j^ε, the kernel; None likewise.
        initial: "u0", or "mollified": from u_0 * j^ε.
    """

    model: Model
    u0: Mapping[str, InitialDensity]
    t_end: float
    eps: float | None = None
    mollifier: Kernel | None = None
    initial: str = "u0"

    @classmethod
    def of(
        cls,
        model: object,
        u0: Any,
        *,
        t_end: Any,
        eps: float | None = None,
        mollifier: Mollifier = "gaussian",
        initial: str = "u0",
    ) -> Problem:
        """Return the problem that a user's arguments state.

        Args:
            model: the model.
            u0: the initial density; with several species, a mapping with one for each.
            t_end: final time > 0.
            eps: ε > 0 of the mollified kernels K * j^ε; None for the local system.
            mollifier: as for :func:`kspde.kernels.resolve_mollifier`.
            initial: "u0", or "mollified": from u_0 * j^ε.

        Raises:
            InputError: a value that is not valid or has no effect, or an inconsistent model.
        """
        if not isinstance(model, Model):
            raise InputError(
                f"model is a {type(model).__name__}: give a kspde model such as SignalDependentKellerSegel"
            )
        densities = densities_by_species(model.species, model.dimension, u0)
        t_end = check_number("t_end", t_end, above=0)
        kernel = resolve_mollifier(eps, mollifier, model.dimension)
        if check_choice("initial", initial, get_args(Initial)) == "mollified" and kernel is None:
            raise InputError('initial = "mollified" needs a mollifier: give eps')
        if kernel is None and mollifier is not None and not (isinstance(mollifier, str) and mollifier == "gaussian"):
            raise InputError(f"mollifier = {shown(mollifier)} has no effect without eps: give eps, or leave it out")
        problem = cls(
            model=model,
            u0=densities,
            t_end=t_end,
            eps=None if kernel is None else float(getattr(kernel, "eps", 0.0) if eps is None else eps),
            mollifier=kernel,
            initial=initial,
        )
        _ = problem.fields  # checks the model
        if kernel is not None and initial == "u0" and not any(f.mollified for f in model.fields):
            name = type(model).__name__
            raise InputError(
                f"eps = {problem.eps:g} has no effect: no field of {name} is mollified, and the density starts from "
                "u0; leave eps and mollifier out"
            )
        return problem

    @cached_property
    def fields(self) -> tuple[Field, ...]:
        """The model's fields with the regularised kernels K^ε = K * j^ε."""
        return self.model.regularised_fields(self.mollifier)

    @property
    def arguments(self) -> dict[str, Any]:
        """The keyword arguments of ``kspde.solve`` and ``kspde.simulate`` that state the problem."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @property
    def local(self) -> Problem:
        """The same without a mollifier, from u_0 itself."""
        return replace(self, eps=None, mollifier=None, initial="u0")

    @property
    def masses(self) -> dict[str, float]:
        """The mass of each species."""
        return {name: density.mass for name, density in self.u0.items()}

    @property
    def mollified_start(self) -> Kernel | None:
        """The mollifier that u_0 is convolved with at t = 0; None if the problem starts from u_0 itself."""
        return self.mollifier if self.initial == "mollified" else None

    def differences(self, other: Problem, ignore: Collection[str] = ()) -> list[Difference]:
        """Return the values in which two problems differ; floats within a relative 1e-12 are equal.

        They are named as parameters: "model" if the classes differ, else "chi", "motility.alpha" and the like; "u0", or
        "u0.a" for one of several species; "t_end"; "eps", and "mollifier" if more than its ε differs; "initial".

        Args:
            other: the other problem.
            ignore: which of "model", "u0", "t_end", "eps", "mollifier" and "initial" may differ.
        """
        found: list[Difference] = []
        if "model" not in ignore:
            parts = differences("model", self.model, other.model)
            found += [d._replace(name=d.name.removeprefix("model.")) for d in parts]
            found += [] if parts else differences("moments", self.model.moments, other.model.moments)
        if "u0" not in ignore:
            for name in {**self.u0, **other.u0}:
                ours, theirs = self.u0.get(name), other.u0.get(name)
                if ours != theirs:
                    found.append(Difference("u0" if len(self.u0) == 1 else f"u0.{name}", ours, theirs))
        for name in ("t_end", "eps", "initial"):
            if name not in ignore:
                found += differences(name, getattr(self, name), getattr(other, name))
        if "mollifier" not in ignore:
            same_eps = self.eps == other.eps and "eps" not in ignore
            if type(self.mollifier) is type(other.mollifier):
                parts = differences("mollifier", self.mollifier, other.mollifier)
                found += [d for d in parts if same_eps or d.name != "mollifier.eps"]
            elif same_eps or (self.mollifier is not None and other.mollifier is not None):
                found.append(Difference("mollifier", self.mollifier, other.mollifier))
        return found

    def describe(self, **more: object) -> dict[str, object]:
        """Return the values that define the problem, by name and JSON-ready: arrays by digest, functions by their code.

        Args:
            more: other values that decide a run's result, by name, such as the backend, domain, scheme and dt.
        """
        out: dict[str, object] = {"kspde": __version__}
        for name, value in more.items():
            out |= values_of(name, value)
        return out | self._described

    @cached_property
    def _described(self) -> dict[str, object]:
        out: dict[str, object] = {}
        for name in ("model", "t_end", "eps", "mollifier", "initial"):
            out |= values_of(name, getattr(self, name))
        for name, density in self.u0.items():
            out |= values_of(f"u0.{name}", density)
            out |= values_of(f"u0.{name}.mass", density.mass)
            out[f"u0.{name}.fingerprint"] = density.fingerprint()
        out |= values_of("moments", self.model.moments) if self.model.moments else {}
        return out | values_of("regularised_fields", self.fields)
