"""Truncated domains, as geometry: no mesh is built here."""

from __future__ import annotations

from kspde.domains.base import Domain
from kspde.domains.box import Box, box_in_words
from kspde.domains.disk import Disk
from kspde.domains.mesh_file import MeshFile
from kspde.errors import InputError

__all__ = [
    "DOMAINS",
    "Box",
    "Disk",
    "Domain",
    "MeshFile",
    "box_in_words",
    "box_of_particles",
    "check_no_walls",
    "check_same_space",
]

#: The domains that ``solve`` accepts, by their names in case files.
DOMAINS: dict[str, type[Domain]] = {"box": Box, "disk": Disk, "mesh": MeshFile}


def box_of_particles(domain: Domain) -> Box | None:
    """Return the box whose walls particles know, or that is their torus; None for the whole space.

    Raises:
        InputError: the domain has other walls.
    """
    if domain.boundary == "decay":
        return None
    if not isinstance(domain, Box):
        raise InputError(
            f'the domain, a {type(domain).__name__} with boundary = "{domain.boundary}", has walls that particles do '
            "not know: give a closed or periodic Box"
        )
    return domain


def check_no_walls(domain: Domain) -> None:
    """Raise unless a domain stands for the whole space.

    Raises:
        InputError: it is closed or periodic.
    """
    if domain.boundary != "decay":
        raise InputError(
            f'the domain, a {type(domain).__name__} with boundary = "{domain.boundary}", is not the whole space, where '
            f'particles live here: give boundary = "decay" and a domain that holds nearly all of the mass'
        )


def check_same_space(density: Domain, particles: Domain | None) -> None:
    """Raise unless particles live where a density does.

    Args:
        density: the density's domain.
        particles: the domain that the particles were given; None for the whole space.

    Raises:
        InputError: they live elsewhere, or no particles can live there.
    """
    there, here = (_place(None if domain is None else box_of_particles(domain)) for domain in (density, particles))
    if there != here:
        raise InputError(
            f"the density lives {there}, the particles {here}: give kspde.simulate the density's domain, domain=..."
        )


def _place(box: Box | None) -> str:
    if box is None:
        return "on the whole space"
    about = "" if box.centre is None else f", centre = {box.centre!r}"
    return f'in a Box with half_width = {box.half_width!r}{about} and boundary = "{box.boundary}"'
