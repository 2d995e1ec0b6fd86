# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Studies: a quantity over a sweep of parameters, its rate, and what is promised of it
#
# A study file is a case file with a [sweep], a [measure] and [[fits]]; demos/studies.toml is one. Ready-made ones are
# theorem1, theorem2, lemma2, mollification, pde-convergence and time-step:
#
#     kspde study theorem1 --small --out result        # a minute on two cores; without --small the full setting
#     mpirun -n 3 kspde study theorem1 --out result    # rank 0 hands the points out; killed, it goes on
#     kspde ledger --results result --out ledger.html  # every claim of the papers beside its measured value
#
# Pictures of the full settings: demos/pictures/study-theorem1.png, study-lemma2.png, study-time-step.png; every claim
# and its measured value: demos/ledger.md.
#
# Here the same from Python, ten seconds on two cores. Run: `python demos/09_studies.py`

# %%
import tempfile
from pathlib import Path

from kspde.io.console import Console
from kspde.io.study_file import read_study
from kspde.io.study_job import run_study
from kspde.parallel import world
from kspde.studies import outcome_of

HERE = Path(__file__).parent if "__file__" in globals() else Path.cwd()  # a notebook runs where it is

study = read_study(HERE / "studies.toml")
comm = world()
directory = Path(comm.bcast(tempfile.mkdtemp())) / "result"
run_study(study, directory, comm, Console(comm))
comm.Barrier()

# %% [markdown]
# Each point carries its replicas. The law of large numbers alone would make the mean square distance fall like 1/N.

# %%
outcome = outcome_of(study, directory)
for record in outcome.records:
    square = record["quantities"]["mean_square"]
    low, high = square.interval
    if comm.rank == 0:
        print(f"N = {record['swept']['n']:4d}: E sup |X - Xbar|^2 = {square.value:.2e} [{low:.2e}, {high:.2e}]")

order, interval = outcome.rates[0].order or (float("nan"), (float("nan"), float("nan")))
