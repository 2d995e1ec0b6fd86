"""A script that is killed and terminated, and goes on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

SCRIPT = """
import sys
import kspde
u0 = kspde.GaussianMixture(weights=[1.0], means=[[0.3, 0.0]], stds=[0.6])
box = kspde.Box(half_width=14.0, cells=30, degree=4)
pde = kspde.solve(kspde.SignalDependentKellerSegel(chi=8.0), u0, box, t_end=0.5, tol=3e-8, eps=0.3, scheme="rosenbrock",
                  checkpoint=kspde.Checkpoint(sys.argv[1], every=0.0), resume=True)
print(repr(pde.evaluate([[0.0, 0.0]])[0]), len(pde.diagnostics["t"]))
"""


def test_killed_and_terminated_processes_go_on(tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text(SCRIPT)

    def start(directory: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(script), str(tmp_path / directory)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)

    undisturbed = start("undisturbed").communicate(timeout=120)[0].split()
    random = np.random.default_rng(3)
    for number in (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM):
        before = set((tmp_path / "killed").glob("checkpoint-*.h5"))
        process = start("killed")
        while set((tmp_path / "killed").glob("checkpoint-*.h5")) <= before and process.poll() is None:
            time.sleep(0.02)
        time.sleep(random.uniform(0.0, 0.4))
        process.send_signal(number)
        _, words = process.communicate(timeout=120)
        if process.returncode:  # it may have been faster
            assert process.returncode == (-signal.SIGKILL if number == signal.SIGKILL else 1)
            assert number == signal.SIGKILL or "stopped by SIGTERM after step" in words
    out, words = start("killed").communicate(timeout=120)
    assert words == ""
    assert abs(float(out.split()[0].strip("np.float64()")) - float(undisturbed[0].strip("np.float64()"))) < 1e-10
    assert out.split()[1] == undisturbed[1]
