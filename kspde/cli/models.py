"""The models that case files may name: those of kspde, of a file of the user's, of installed packages.

A case file is data and names no code: the file of models is named on the command line (``--models my_models.py``), and
an installed package registers its models, each under its kind, in the entry point group ``kspde.models``.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from kspde.cli.forms import model_table
from kspde.errors import InputError, shortened, shown
from kspde.models import MODELS, Model
from kspde.runtime.files import read_regular, reason

__all__ = ["BUILT_IN", "KnownModels", "models_of_file"]

#: The entry point group of installed packages, and the name under which a user's file is imported.
_GROUP, _MODULE = "kspde.models", "kspde_user_models"

#: The most bytes of a user's file.
_MOST = 1 << 22


@dataclass(frozen=True, kw_only=True)
class KnownModels:
    """Models by kind, and where those come from that are not kspde's.

    Attributes:
        kinds: the models.
        origins: by kind, ``file`` and ``sha256`` of a user's file, or ``package`` and ``version``.
        option: what a command needs to know them, " --models FILE".
    """

    kinds: Mapping[str, type[Model]] = field(default_factory=lambda: MODELS)
    origins: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    option: str = ""

    def with_kind(self, kind: object) -> KnownModels:
        """Return these models, with that of an installed package where the kind is none of them.

        Raises:
            InputError: no such model, or one that cannot be used.
        """
        if not isinstance(kind, str) or kind in self.kinds:
            return self
        installed = entry_points(group=_GROUP)
        found = [each for each in installed if each.name == kind]
        if not found:
            choices = " or ".join(f'"{name}"' for name in (*self.kinds, *sorted({each.name for each in installed})))
            own = "" if self.option else ", or the file of your own models: --models my_models.py"
            raise InputError(f'model.kind = "{shortened(kind)}" is not valid: give {choices}{own}')
        packages = [f"{each.dist.name} {each.dist.version}" if each.dist else each.value for each in found]
        where = f"model.kind = {shown(kind)} of {' and '.join(packages)}"
        if len(found) > 1:
            raise InputError(f"{where} stands for several models: install one of the packages")
        model = _loaded(found[0], where)
        package, _, version = packages[0].rpartition(" ")
        origins = {**self.origins, kind: {"package": package, "version": version}}
        return replace(self, kinds={**self.kinds, kind: model}, origins=origins)


#: The models of kspde.
BUILT_IN = KnownModels()


def models_of_file(path: Path | None) -> KnownModels:
    """Return the models of kspde, and those that a user's file defines. It is run, as ``python FILE`` would.

    Its models are the frozen dataclasses in it that derive from ``kspde.Model``; the kind of each is its class variable
    ``kind``, or its name.

    Raises:
        InputError: the file cannot be read or fails, defines no model or one that cannot be used, or uses a kind twice.
    """
    if path is None:
        return BUILT_IN
    where = f"--models {path}"
    try:
        source = read_regular(path, _MOST)
    except OSError as error:
        raise InputError(f"{where} cannot be read ({reason(error)}): give a Python file with your models") from None
    digest = hashlib.sha256(source).hexdigest()
    kinds: dict[str, type[Model]] = {}
    for model in _models_in(_run(path, source, where)):
        kind = model.__dict__.get("kind", model.__name__)
        _check(model, kind, where)
        if kind in MODELS:
            raise InputError(f'{where}: kind = "{kind}" of {model.__name__} is a model of kspde: give it another')
        if kind in kinds:
            raise InputError(
                f'{where}: {kinds[kind].__name__} and {model.__name__} have the kind "{kind}": give each its own'
            )
        model.code_digest = digest  # type: ignore[attr-defined]
        kinds[kind] = model
    if not kinds:
        raise InputError(f"{where} defines no model: give it a frozen dataclass that derives from kspde.Model")
    origin = {"file": str(path.resolve()), "sha256": digest}
    return KnownModels(kinds={**MODELS, **kinds}, origins=dict.fromkeys(kinds, origin), option=f" --models {path}")


def _run(path: Path, source: bytes, where: str) -> ModuleType:
    """Return the module that a file makes; files beside it can be imported."""
    module = ModuleType(_MODULE)
    module.__file__ = str(path)
    sys.modules[_MODULE] = module  # where annotations are looked up, and points of a study unpickled
    beside = str(path.resolve().parent)
    sys.path.append(beside)
    try:
        exec(compile(source, str(path), "exec"), module.__dict__)
    except (Exception, SystemExit) as error:
        lines = [at.lineno for at in traceback.extract_tb(error.__traceback__) if at.filename == str(path)]
        line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
        words = error.msg if isinstance(error, SyntaxError) else " ".join(str(error).split())
        raise InputError(
            f"{where}{f', line {line}' if line else ''}: {type(error).__name__}: {shortened(words, 200)}"
        ) from None
    finally:
        sys.path.remove(beside)
    return module


def _models_in(module: ModuleType) -> list[type[Model]]:
    """Return the models in a module that are neither abstract, nor private, nor kspde's own."""
    found = [each for name, each in vars(module).items() if isinstance(each, type) and not name.startswith("_")]
    return [
        each
        for each in dict.fromkeys(found)
        if issubclass(each, Model) and not inspect.isabstract(each) and each.__module__.split(".")[0] != "kspde"
    ]


def _loaded(entry: EntryPoint, where: str) -> type[Model]:
    try:
        model = entry.load()
    except Exception as error:
        raise InputError(f"{where}: {type(error).__name__}: {reason(error)}") from None
    if not (isinstance(model, type) and issubclass(model, Model)):
        raise InputError(
            f"{where} is {entry.value}, a {type(model).__name__}: give a class that derives from kspde.Model"
        )
    _check(model, entry.name, where)
    return model


def _check(model: type[Model], kind: Any, where: str) -> None:
    """Refuse a class that cannot be a table of a case file."""
    name = model.__name__
    if not isinstance(kind, str) or not kind or not kind.isprintable():
        raise InputError(
            f"{where}: kind = {shown(kind)} of {name} is not valid: give a class variable, kind: ClassVar = "
            f'"{name.lower()}"'
        )
    own = vars(model).get("__dataclass_params__")
    if not is_dataclass(model) or own is None or not own.frozen:
        raise InputError(
            f"{where}: {name} is not a frozen dataclass: put @dataclass(frozen=True, kw_only=True) before it"
        )
    if "kind" in {each.name for each in fields(model)}:
        raise InputError(f"{where}: kind is a parameter of {name}: make it a class variable, kind: ClassVar = ...")
    try:
        model_table(kind, model)
    except Exception as error:
        raise InputError(f"{where}: {name} cannot be a table of a case file: {reason(error)}") from None
