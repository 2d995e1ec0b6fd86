"""The commands of ``kspde``. Each returns the work that it stands for."""

from __future__ import annotations

import errno
import json
import os
import shlex
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from enum import StrEnum
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import typer

from kspde._version import __version__
from kspde.cli.console import Console
from kspde.cli.hidden import RunCheckpoints
from kspde.cli.results import SUMMARY, ResultDirectory
from kspde.cli.work import Work
from kspde.errors import InputError, shortened
from kspde.fem import backend
from kspde.runtime.files import shipped, write_whole
from kspde.runtime.garbage import no_search
from kspde.runtime.parallel import together
from kspde.runtime.signals import Stop
from kspde.typing import Comm

__all__ = ["app"]

_STATUSES = """
Exit status: 0 success, 2 bad input or a missing library, 3 a solve that failed, 129, 130 or 143 interrupted, 1 an error
in kspde itself. Every error but the last is one line on standard error.
"""

app = typer.Typer(
    help="Keller-Segel densities by finite elements, their N-particle systems, and the distance between the two.",
    epilog=_STATUSES,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


#: The characters of "i/n": no study has a million points.
_LONGEST_SHARD = 15

CaseFile = Annotated[Path, typer.Argument(metavar="CASE.toml", show_default=False, help="The case file.")]
Out = Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Directory for the results; it must not exist.")]
Force = Annotated[bool, typer.Option("--force", help="Replace DIR if it holds an earlier result.")]
Resume = Annotated[
    bool, typer.Option("--resume", help="Continue from the checkpoints of an interrupted run, if there are any.")
]


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a number: give seconds >= 0") from None


Models = Annotated[
    Path | None,
    typer.Option(
        "--models",
        metavar="FILE.py",
        show_default=False,
        help="A Python file with models of your own, which is run: the case may name their kinds.",
    ),
]
Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        show_default=False,
        help="A value in place of the file's, such as model.chi=12; may be repeated.",
    ),
]
Every = Annotated[
    float,
    typer.Option("--checkpoint-every", metavar="SECONDS", parser=_seconds, help="Wall time between two checkpoints."),
]
Log = Annotated[
    Path | None,
    typer.Option(
        "--log",
        metavar="FILE",
        show_default=False,
        help="Add all lines to a file, with the date; long runs say there how far they are.",
    ),
]
Extendable = Annotated[
    bool,
    typer.Option("--extendable", help="Keep the last state: --resume --force with a later t_end continues from it."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", is_eager=True, help="Print the version and exit.")] = False,
) -> None:
    if version:
        print(f"kspde {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command(epilog="Examples: kspde demo; mpirun -n 2 kspde demo --out first-run")
def demo(out: Out = Path("demo-output"), force: Force = False, quiet: Quiet = False, changes: Changes = None) -> Work:
    """Run the built-in case: density, particles, distances, pictures. Takes less than half a minute."""
    return _filling("compare", resources.files("kspde") / "cases" / "demo.toml", out, force, quiet, changes=changes)


def _listing(mark: str, folder: str) -> Callable[[Callable[..., Work]], Callable[..., Work]]:
    """Return a decorator that puts the names of the files that come with kspde into a command's help."""

    def named(command: Callable[..., Work]) -> Callable[..., Work]:
        command.__doc__ = (command.__doc__ or "").replace(mark, ", ".join(shipped(folder, ".toml")))
        return command

    return named


@app.command("run", epilog="Examples: kspde run case.toml --out result; mpirun -n 4 kspde run case.toml --out result")
def run_case(
    case: CaseFile,
    out: Out,
    force: Force = False,
    quiet: Quiet = False,
    resume: Resume = False,
    extendable: Extendable = False,
    checkpoint_every: Every = 600.0,
    models: Models = None,
    changes: Changes = None,
    log: Log = None,
) -> Work:
    """Solve the density equation of a case.

    DIR gets summary.json, diagnostics.csv (per time step), density.vtkhdf (for ParaView) and pictures. What a solve
    that fails has computed goes to DIR.failed.
    """
    return _filling("run", case, out, force, quiet, resume, checkpoint_every, models, changes, log, keep=extendable)


@app.command(
    "compare", epilog="Examples: kspde compare case.toml --out result; mpirun -n 4 kspde compare case.toml --out result"
)
def compare_case(
    case: CaseFile,
    out: Out,
    force: Force = False,
    quiet: Quiet = False,
    resume: Resume = False,
    checkpoint_every: Every = 600.0,
    models: Models = None,
    changes: Changes = None,
    log: Log = None,
) -> Work:
    """Solve the density equation, simulate the particles, and measure how far they are apart.

    With compare.against in the case the density is that without mollifier, or another case's; without [particles] the
    two densities are compared.

    DIR gets what "run" writes, the distances in summary.json, particles.h5, and pictures of both densities and their
    difference.
    """
    return _filling("compare", case, out, force, quiet, resume, checkpoint_every, models, changes, log)


@app.command(
    epilog="Examples: kspde study mollification --small --out first; mpirun -n 3 kspde study mine.toml --out result"
)
@_listing("{READY}", "papers/studies/ready")
def study(
    path: Annotated[
        str, typer.Argument(metavar="STUDY", show_default=False, help="A study file, or the name of a ready-made one.")
    ],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="DIR", help="Directory for the results; an interrupted one is finished."),
    ],
    small: Annotated[
        bool, typer.Option("--small", help="Take the small setting: about a minute on two cores.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Continue in DIR although the study has changed; other points are kept."),
    ] = False,
    seed: Annotated[
        int, typer.Option("--seed", metavar="K", help="Take other random numbers; those of shipped results have 0.")
    ] = 0,
    workers: Annotated[
        int, typer.Option("--workers", metavar="N", min=1, help="Compute points on N processes of this machine.")
    ] = 1,
    ranks_per_point: Annotated[
        int, typer.Option("--ranks-per-point", metavar="R", min=1, help="Under mpirun, compute each point on R ranks.")
    ] = 1,
    shard: Annotated[
        str | None,
        typer.Option(
            "--shard",
            metavar="I/N",
            show_default=False,
            help="Compute the I-th of N parts of the points only, such as 1/4; without it the same command merges.",
        ),
    ] = None,
    quiet: Quiet = False,
    models: Models = None,
    changes: Changes = None,
    log: Log = None,
) -> Work:
    """Measure something over a sweep of parameters, fit its rate, and set it beside what is promised.

    Ready-made: {READY}; "all" runs every one, each in its own directory below DIR, and says beforehand what the shipped
    results took. Finished points are kept in DIR/points: after a kill the same command continues and repeats none.
    A point that fails, or whose worker is killed, loses only its own result. Under mpirun rank 0 hands out the points:
    give one rank more than there are cores. DIR gets table.csv, table.h5, pictures, report.html and summary.json.
    """

    def job(comm: Comm, stop: Stop) -> str | None:
        from kspde.cli.jobs import cost_lines, run_study
        from kspde.cli.models import models_of_file
        from kspde.cli.study import read_study, ready_studies
        from kspde.runtime.workers import Workers

        names = list(ready_studies()) if path == "all" else [path]
        with together(comm):
            _check_log(log, Path(path))
            console = Console(comm, quiet=quiet, log=log)
            part = None if shard is None else _part(shard)
            if workers > 1 and comm.size * ranks_per_point > 1:
                raise InputError("--workers are processes of one rank: leave out mpirun and --ranks-per-point")
        for line in () if small else cost_lines(names):
            console.say(line)
        with nullcontext() if workers == 1 else Workers(workers, models_of_file, models) as executor:
            for name in names:
                own = out / name if path == "all" else out
                with together(comm, "kspde study") as same:
                    known = models_of_file(models)
                    chosen = read_study(name, small=small, models=known, seed=seed, changes=changes or ())
                    same(study=chosen.described(), out=str(own), force=force)
                with together(comm):  # PETSc begins on all ranks together
                    backend.require()
                means: dict[str, Any] = {"executor": executor, "ranks_per_point": ranks_per_point}
                with console.hearing_warnings():
                    run_study(chosen, own, comm, console, stop, force=force, shard=part, **means)
                if part is None:
                    console.say(f"\nReport: {own / 'report.html'}")
                    console.say(f"All numbers: {own / SUMMARY}")
        if part is not None:
            console.say("When all shards are done, the same command without --shard merges them")
        return f"interrupted: {out} holds all results" if stop.asked(comm) else None

    return Work(job, lambda: "finished points are kept, the same command continues")


def _check_log(log: Path | None, file: Path) -> None:
    """Refuse a log that would be written into the file which a command reads."""
    same = False
    with suppress(OSError, ValueError):  # one of them does not exist
        same = log is not None and os.path.samefile(log, file)
    if same:
        raise InputError(f"--log {log} is the file that is read: give another one")


def _part(text: str) -> tuple[int, int]:
    """Return (i, n) of "i/n"."""
    i, slash, n = text.partition("/")
    short = len(text) <= _LONGEST_SHARD  # Python refuses to read integers of thousands of digits
    if not (short and slash and i.isdecimal() and n.isdecimal() and 1 <= int(i) <= int(n)):
        raise InputError(f"--shard {shortened(text)} is not valid: give i/n with 1 <= i <= n, such as 1/4")
    return int(i), int(n)


@app.command(epilog="Examples: kspde init; kspde init viscous-vortices --out merging.toml")
@_listing("{CASES}", "cases")
def init(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The case to begin with.")] = "demo",
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", show_default="NAME.toml", help="The file; it must not exist."),
    ] = None,
) -> Work:
    """Write a case file to begin with: a complete one, with comments, to edit and run.

    NAME is one of {CASES}.
    """

    def job(comm: Comm, stop: Stop) -> None:
        cases = shipped("cases", ".toml")
        file = Path(f"{name}.toml") if out is None else out
        with together(comm):
            if name not in cases:
                raise InputError(f"{shortened(name)} is not a case of kspde: these are {', '.join(cases)}")
            if comm.rank == 0:
                try:
                    if os.path.lexists(file):
                        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
                    write_whole(file, cases[name].read_bytes())
                except OSError as error:
                    raise InputError(f"{file} cannot be written ({error.strerror}): give another --out") from None
        command = "compare" if b"\n[particles]" in cases[name].read_bytes() else "run"
        Console(comm).answer(f"Case: {file}\nRun: kspde {command} {shlex.quote(str(file))} --out DIR")

    return Work(job)


@app.command(epilog="Examples: kspde ledger; kspde ledger --out ledger.html --results my-theorem1")
def ledger(
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="FILE", help="Write to a .html, .md or .json file; an existing one is replaced."
        ),
    ] = None,
    results: Annotated[
        list[Path] | None,
        typer.Option(
            "--results",
            metavar="DIR",
            help="Results of a study, instead of those that come with kspde; may be repeated.",
        ),
    ] = None,
) -> Work:
    """Set each quantitative claim of the papers beside its measured value.

    The measured values are read from results of studies, those that come with kspde unless --results gives others.
    """

    def job(comm: Comm, stop: Stop) -> None:
        from kspde.cli.ledger import ledger_text, read_results

        with together(comm):
            text = ledger_text(read_results(results or []), out) if comm.rank == 0 else ""
            if out is not None and comm.rank == 0:
                try:
                    write_whole(out, text.encode())
                except OSError as error:
                    raise InputError(f"{out} cannot be written ({error.strerror}): give another --out") from None
        Console(comm).answer(text.rstrip("\n") if out is None else f"Ledger: {out}")

    return Work(job)


@app.command(epilog="Examples: kspde study lemma2 --seed 1 --out other; kspde agree other")
def agree(
    result: Annotated[Path, typer.Argument(metavar="DIR", show_default=False, help="The results of a study.")],
    other: Annotated[
        Path | None,
        typer.Argument(metavar="OTHER", show_default=False, help="Others, with other seeds; else those of kspde."),
    ] = None,
) -> Work:
    """Say whether two results of a study with other seeds agree: each measured number, by their intervals."""

    def job(comm: Comm, stop: Stop) -> None:
        from kspde.cli.ledger import agreement_line

        with together(comm):
            line = agreement_line(result, other)
        Console(comm).answer(line)

    return Work(job)


@app.command(epilog="Examples: kspde theory; kspde theory case.toml")
def theory(
    case: Annotated[
        Path | None, typer.Argument(metavar="CASE.toml", show_default=False, help="A case file to look at.")
    ] = None,
    models: Models = None,
    changes: Changes = None,
) -> Work:
    """Print what the papers promise: admissible exponents, sharp constants, norms of kernels, conditions.

    With a case, those that concern its model, and which hypotheses its parameters and initial density satisfy.
    """

    def job(comm: Comm, stop: Stop) -> None:
        from kspde.cli.case import read_case
        from kspde.cli.models import models_of_file
        from kspde.cli.theory import promise_lines

        with together(comm):
            known = models_of_file(models)
            if changes and case is None:
                raise InputError("--set has nothing to change: give a case file")
            lines = list(promise_lines(None if case is None else read_case(case, known, changes or ())))
        Console(comm).answer("\n".join(lines).lstrip("\n"))

    return Work(job)


class FileKind(StrEnum):
    """The files that have a schema."""

    case = "case"
    study = "study"


@app.command(epilog="Examples: kspde schema; kspde schema study > study.schema.json")
def schema(
    kind: Annotated[FileKind, typer.Argument(metavar="case|study", help="Which files.")] = FileKind.case,
    models: Models = None,
) -> Work:
    """Print the JSON schema of case files or study files: every table and key, with type, default and meaning."""

    def job(comm: Comm, stop: Stop) -> None:
        from kspde.cli.models import models_of_file
        from kspde.cli.schema import json_schema

        with together(comm):
            known = models_of_file(models)
        Console(comm).answer(json.dumps(json_schema(kind, known.kinds), indent=2, ensure_ascii=False))

    return Work(job)


def _filling(
    name: str,
    path: Any,
    out: Path,
    force: bool,
    quiet: bool,
    resume: bool = False,
    every: float = 600.0,
    models: Path | None = None,
    changes: Sequence[str] | None = None,
    log: Path | None = None,
    *,
    keep: bool = False,
) -> Work:
    """Return the work of filling a directory by a method of ``kspde.cli.case_run.CaseRun``."""

    def checked_case(comm: Comm) -> Any:
        from kspde.cli.case import read_case
        from kspde.cli.models import models_of_file

        with together(comm, f"kspde {name}") as same:
            with resources.as_file(path) as file:
                _check_log(log, file)
                case = read_case(file, models_of_file(models), changes or ())
            if keep and (several := {"accuracy", "regrid"} & set(case.experiment.solve)):
                raise InputError(f"--extendable has no effect with density.{several.pop()}: leave it out")
            same(
                case=case.parameters(),
                origin=dict(case.origin),
                out=str(out),
                force=force,
                resume=resume,
                checkpoint_every=every,
                extendable=keep,
            )
        return case

    def job(comm: Comm, stop: Stop) -> str | None:
        directory = ResultDirectory(out, comm, force=force)
        directory.check()  # before anything heavy is imported
        from kspde.plots.style import side_by_side

        with side_by_side(comm, "kspde.plots.drawings"):  # made ready while the rest is imported
            with no_search():
                from kspde.cli.case_run import CaseRun

                case = checked_case(comm)
                with together(comm):
                    console = Console(comm, quiet=quiet, log=log)
            with (
                console.hearing_warnings(),
                directory as results,
                RunCheckpoints(out, comm, console, every=every, resume=resume, force=force, keep=keep) as checkpoints,
            ):
                run = CaseRun(
                    case=case, results=results, checkpoints=checkpoints, comm=comm, console=console, stop=stop
                )
                pictures, missing = getattr(run, name)()
        if pictures:
            console.say(f"\nPictures: {', '.join(str(out / picture) for picture in pictures)}")
        console.say(f"All numbers: {out / SUMMARY}")
        if stop.asked(comm) is None:
            return None
        held = f"the results, without {', '.join(missing)}" if missing else "all results"
        return f"interrupted: {out} holds {held}"

    def kept() -> str:
        return "--resume continues from the last checkpoint" if RunCheckpoints.left(out) else "nothing was written"

    return Work(job, kept)
