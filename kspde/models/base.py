r"""The interface of a model.

Every system of the family is a (multi-species) McKean-Vlasov pair. For species i, in Itô's sense,

.. math::
    dX_i &= b_i\,dt + \sqrt{2 D_i}\,dB, \\
    \partial_t u_i &= \Delta(D_i u_i) - \nabla\cdot(b_i u_i) + r_i u_i,

where the diffusion coefficient :math:`D_i \ge 0`, a number or a symmetric positive semidefinite matrix (then
:math:`\sum_{ab}\partial_a\partial_b(D_{i,ab} u_i)`), the drift :math:`b_i` and the growth per capita :math:`r_i`, by
which the weights of particles change, :math:`dw = r_i w\,dt`, are functions of time, of the position, of
*fields* :math:`c = K * u_j` (the convolution of a density, or of the empirical measure, with a kernel), of their
gradients, and of *moments* :math:`\int \varphi u_j`. A model states its species, its fields, its moments, D, b and r;
it knows nothing of meshes, particles or MPI.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from kspde.errors import InputError, check_flag, check_integer, check_number
from kspde.initial import InitialDensity
from kspde.kernels import Kernel, check_symbol
from kspde.typing import Array

__all__ = ["Field", "FieldValues", "Model", "Moment"]


@dataclass(frozen=True, kw_only=True)
class Field:
    """A field c = K * u_source.

    Attributes:
        name: the name by which coefficients refer to it.
        kernel: K.
        source: the species whose density is convolved.
        gradient: whether the coefficients use ∇c, which is computed only then.
        value: whether the coefficients use c itself. Potentials that grow at infinity (``LogPotential`` in dimension 1
            and 2) are known up to a constant only: they are refused unless this is False.
        mollified: whether a regularised system replaces K by K * j^ε here.
        tau: τ ≥ 0; if τ > 0 the field relaxes to K * u instead of being equal to it: τ∂_t c = (Δ − ρ²)(c − K * u), with
            the kernel's ``relaxation_rate`` ρ. For the Yukawa potential that is τ∂_t c = Δc − μ²c + χu; the mollified
            equation is the same with the source χu * j^ε.
        start: the initial field if τ > 0, which is not mollified; None: K * u_0, in equilibrium with the density.

    Raises:
        InputError: a value of the wrong kind, τ < 0 or not finite, or ``start`` without τ > 0.
    """

    name: str
    kernel: Kernel
    source: str = "u"
    gradient: bool = False
    value: bool = True
    mollified: bool = True
    tau: float = 0.0
    start: InitialDensity | None = None

    def __post_init__(self) -> None:
        _check_names("field", name=(self.name, "c"), source=(self.source, "u"))
        if not isinstance(self.kernel, Kernel):
            raise InputError(
                f"the kernel of field {self.name!r} is a {type(self.kernel).__name__}: give one such as kspde.Yukawa()"
            )
        for what, flag in (("gradient", self.gradient), ("value", self.value), ("mollified", self.mollified)):
            check_flag(f"{what} of field {self.name!r}", flag)
        check_number(f"tau of field {self.name!r}", self.tau, at_least=0)
        check_start(f"start of field {self.name!r}", self.start, self.tau)
        if self.kernel.local and self.tau > 0:
            raise InputError(f"field {self.name!r} is the density at the same place, which cannot relax: give tau = 0")


@dataclass(frozen=True, kw_only=True)
class Moment:
    r"""A moment of a density, :math:`\int \varphi u`, or of the empirical measure, :math:`\sum_j w_j \varphi(X_j)`.

    Weights carry the mass. It is a number for all points, or an array of numbers, of the whole measure: particle i
    itself is among the X_j, whatever ``include_self``. (A sum :math:`\sum_{j \ne i} w_j K(X_i - X_j)` with a polynomial
    K is one of moments where K(0) = 0, as for Landau's :math:`|z|^2 I - z \otimes z`; otherwise K(0)'s share belongs to
    it.)

    Attributes:
        name: the name by which coefficients refer to it.
        function: φ, which maps points of shape (n, d) to real numbers of shape (n,), or (n, k, ...) for several.
        source: the species.

    Raises:
        InputError: a value of the wrong kind.
    """

    name: str
    function: Callable[[Array], Array]
    source: str = "u"

    def __post_init__(self) -> None:
        _check_names("moment", name=(self.name, "m2"), source=(self.source, "u"))
        if not callable(self.function):
            raise InputError(
                f"the function of moment {self.name!r} is a {type(self.function).__name__}: give one that maps points "
                "(n, d) to numbers (n,)"
            )


@dataclass(frozen=True)
class FieldValues:
    """Fields at n points and one time, and moments, as a model's coefficients see them.

    ``c["v"]`` is the field v, shape (n,); ``c.gradient("v")`` is its gradient, shape (n, d); ``c.perp("v")`` is that
    turned by a right angle; ``c.moment("m2")`` is a moment, a number or shape (k, ...); ``c.points`` are the positions,
    shape (n, d); ``c.t`` is the time.
    """

    points: Array
    values: Mapping[str, Array]
    gradients: Mapping[str, Array] = field(default_factory=dict)
    t: float = 0.0
    moments: Mapping[str, Array] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Array:
        """Return the field's values, shape (n,).

        Raises:
            InputError: the model declares that it does not use its values.
            KeyError: the model has no such field.
        """
        if name not in self.values and name in self.gradients:
            known = ", ".join(self.values) or "none"
            raise InputError(f"the values of field {name!r} are not computed ({known} are): it has value=False")
        return self.values[name]

    def gradient(self, name: str) -> Array:
        """Return the field's gradient, shape (n, d).

        Raises:
            InputError: the model does not declare that it uses this gradient.
        """
        if name not in self.gradients:
            raise InputError(f"the gradient of field {name!r} is not computed: declare Field(..., gradient=True)")
        return self.gradients[name]

    def perp(self, name: str) -> Array:
        r"""Return :math:`(\partial_y c, -\partial_x c)`, shape (n, 2): the velocity of the stream function c.

        It is free of divergence, and turns counter-clockwise around a maximum of c: with −Δc = ω it is the velocity
        with the vorticity ω.

        Raises:
            InputError: as for ``gradient``, or another dimension than 2.
        """
        if self.points.shape[1] != 2:
            raise InputError(f"perp({name!r}) is defined in dimension 2, not {self.points.shape[1]}: use gradient")
        slope = self.gradient(name)
        return np.stack([slope[:, 1], -slope[:, 0]], axis=1)

    def moment(self, name: str) -> Array:
        """Return a moment, shape () or (k, ...), the same for all points.

        Raises:
            InputError: the model does not declare it.
        """
        if name not in self.moments:
            known = ", ".join(self.moments) or "none"
            raise InputError(f"moment {name!r} is not computed ({known} is): declare it in the model's moments")
        return self.moments[name]

    def part(self, rows: slice) -> FieldValues:
        """Return the fields at some of the points."""
        return replace(
            self,
            points=self.points[rows],
            values={name: values[rows] for name, values in self.values.items()},
            gradients={name: values[rows] for name, values in self.gradients.items()},
        )


class Model(ABC):
    """A system of the family: species, fields, diffusion coefficients and drifts.

    Subclasses are frozen dataclasses of their parameters. Coefficients are evaluated at n points at once.
    """

    #: By parameter, the registry that a case file chooses its value from, by name: motilities, drivers.
    registries: ClassVar[Mapping[str, Mapping[str, Callable[..., Any]]]] = {}

    #: Dimension d of space.
    dimension: int = 2

    #: Names of the species.
    species: tuple[str, ...] = ("u",)

    @property
    @abstractmethod
    def fields(self) -> tuple[Field, ...]:
        """The fields, with the kernels of the unregularised system."""

    @property
    def moments(self) -> tuple[Moment, ...]:
        """The moments that the coefficients use: none unless a model overrides it."""
        return ()

    @abstractmethod
    def diffusion(self, species: str, c: FieldValues) -> Array | float:
        r"""Return D = σ²/2 of a species at the points of ``c``: shape (n,), or a number if D is constant.

        Shape (n, d, d) stands for a matrix at each point, symmetric and positive semidefinite, and (n, d) for the
        diagonal of one:

        .. math:: \partial_t u = \sum_{ab} \partial_a \partial_b (D_{ab} u) - \nabla\cdot(b u), \qquad
            dX = b\,dt + \sqrt{2D}\,dB,

        with the symmetric root; densities then need a ``Box`` and a scheme that is not positive. A model whose D is one
        number may state it as an attribute ``diffusion`` in place of this method.
        """

    def drift(self, species: str, c: FieldValues) -> Array | None:
        """Return the drift b of a species, shape (n, d), or None (the default) if it has none."""
        return None

    def growth(self, species: str, c: FieldValues) -> Array | float | None:
        """Return the growth rate r of a species, per capita: (n,), a number, or None (the default) if it has none.

        ∂_t u = Σ_ab ∂_a∂_b(D_ab u) − ∇·(b u) + r u; particles change their weights, dw = r w dt. r < 0 is decay.
        """
        return None

    def pair_rotation(self, species: str) -> float | None:
        r"""Return Λ if the scheme "pair-rotation" moves the particles of a species, or None (the default).

        It does where D and b are :math:`a * \mu` and :math:`2\,b * \mu`, with :math:`a(z) = \Lambda(|z|^2 I -
        z \otimes z)`, :math:`b = \nabla\cdot a` and the measure μ of that species alone:
        :mod:`kspde.particles.schemes.pair_rotation` derives it.
        """
        return None

    def free_energy_density(self, densities: Mapping[str, Array], c: FieldValues) -> Array:
        r"""Return the integrand f of the free energy ∫f, shape (n,), if the model has one.

        Args:
            densities: the density of each species at the points of ``c``.
            c: the fields there.

        Raises:
            NotImplementedError: the model has no free energy.
        """
        raise NotImplementedError(f"{type(self).__name__} has no free energy")

    @property
    def ordered(self) -> bool:
        """Whether particles on a line, of equal weights and without a mollifier, never pass one another.

        False unless a model overrides it.

        Those that a step takes past one another then exchange their places.
        """
        return False

    @property
    def has_growth(self) -> bool:
        """Whether ``growth`` is defined: masses are then not constant."""
        return type(self).growth is not Model.growth

    @property
    def has_free_energy(self) -> bool:
        """Whether ``free_energy_density`` is defined."""
        return type(self).free_energy_density is not Model.free_energy_density

    @property
    def signal(self) -> str | None:
        """The name of the field that ``evaluate_signal`` evaluates unless another is given: the first."""
        return self.fields[0].name if self.fields else None

    def without_interaction(self) -> Model | None:
        """Return the model of independent particles with the same D, where it has parameters for it; else None."""
        return None

    def regularised_fields(self, mollifier: Kernel | None = None) -> tuple[Field, ...]:
        """Return the fields with K replaced by K^ε = K * j^ε where a mollifier j^ε is given.

        Raises:
            InputError: an inconsistent model: repeated names, a field whose source is not a species, a symbol that is
                not real and finite.
        """
        check_integer(f"dimension of {type(self).__name__}", self.dimension, at_least=1)
        species = self.species
        if not isinstance(species, tuple) or not species or not all(isinstance(name, str) and name for name in species):
            raise InputError(f"species = {species!r} of {type(self).__name__} is not valid: give a tuple of names")
        if len(set(species)) < len(species):
            raise InputError(f"species = {species!r} of {type(self).__name__} has a name twice: give each its own")
        for f in self.fields:
            if not isinstance(f, Field):
                raise InputError(f"fields of {type(self).__name__} hold a {type(f).__name__}: give kspde.Field objects")
        for f in self.fields:
            kernel = f.kernel.in_dimension(self.dimension)
            check_symbol(f"field {f.name!r}", kernel)
            if f.value and kernel.grows(self.dimension):
                raise InputError(
                    f"field {f.name!r}: the potential of its kernel grows at infinity in dimension {self.dimension}, "
                    "so that c itself is known up to a constant only: give a screening > 0, or Field(..., value=False) "
                    "if the coefficients use its gradient alone"
                )
            if f.start is not None and f.start.dimension != self.dimension:
                raise InputError(
                    f"start of field {f.name!r} has dimension {f.start.dimension}, the model {self.dimension}: give a "
                    f"density on R^{self.dimension}"
                )
        for m in self.moments:
            if not isinstance(m, Moment):
                raise InputError(
                    f"moments of {type(self).__name__} hold a {type(m).__name__}: give kspde.Moment objects"
                )
        for kind, all_of_them in (("field", self.fields), ("moment", self.moments)):
            names = [each.name for each in all_of_them]
            for each in all_of_them:
                if each.source not in species:
                    raise InputError(
                        f"{kind} {each.name!r} has source {each.source!r}: give one of the species {', '.join(species)}"
                    )
                if names.count(each.name) > 1:
                    raise InputError(f"two {kind}s are called {each.name!r}: give each its own name")

        def regularised(f: Field) -> Kernel:
            kernel = f.kernel if mollifier is None or not f.mollified else f.kernel * mollifier
            return kernel.in_dimension(self.dimension)

        return tuple(replace(f, kernel=regularised(f)) for f in self.fields)


def _check_names(kind: str, **names: tuple[object, str]) -> None:
    for what, (given, example) in names.items():
        if not isinstance(given, str) or not given or not given.isprintable():
            raise InputError(f"{what} = {given!r} of a {kind} is not valid: give a string such as {example!r}")


def check_start(label: str, start: object, tau: float) -> None:
    """Raise an ``InputError`` unless the initial field is None, or a density where τ > 0."""
    if start is not None and not isinstance(start, InitialDensity):
        raise InputError(f"{label} is a {type(start).__name__}: give a density such as kspde.GaussianMixture, or None")
    if start is not None and not tau > 0:
        raise InputError(f"{label} has no effect with tau = {tau:g}: give tau > 0, or leave it out")
