"""Fill the cache of compiled forms with those of the domains that the demo does not use."""

from pathlib import Path

import kspde

MODEL = kspde.SignalDependentKellerSegel(chi=8.0)
U0 = kspde.GaussianMixture(weights=(1.0,), means=((0.0, 0.0),), stds=(0.6,))
DOMAINS = (
    kspde.Disk(radius=10.0, size=0.4, rim_size=2.0),
    kspde.Disk(radius=10.0, size=0.4, rim_size=2.0, cell="quadrilateral", degree=2),
    kspde.MeshFile(path=Path("meshes/ellipse.msh")),
)

for domain in DOMAINS:
    kspde.solve(MODEL, U0, domain, t_end=0.01, tol=1e-2)
for domain in (kspde.Box(half_width=8.0, cells=40, degree=1), DOMAINS[0]):
    kspde.solve(MODEL, U0, domain, t_end=0.01, scheme="positive", dt=0.01)
