"""Atoms from tilt series: recall, precision and RMSD against truth, beside the Cramér-Rao bound and the aims.

Every fit is a process of its own, from the file to the atoms: its seconds count the start of Python and what numba
compiles, its memory is that process's peak. Seconds of its cores are given beside, for a machine that is shared.
Series and bounds are made on the first run (see ``_potentials.py``, ``_bounds.py``) and kept in ``--cache``; results
are kept too, and used again with ``--kept`` alone.

    python benchmarks/atoms.py [PART ...] [--cases NAME ...] [--cache FOLDER] [--kept]

PART is among: accuracy, held-out (specimens that nothing was tuned on), film, calibration, ablation. By default:
accuracy and film.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
SHARED = HERE.parents[1] / "shared" / "data"
AU, GLASS = ("Au",), ("Co", "Pd", "Pt")


@dataclass(frozen=True)
class Aim:
    """What a case is to reach; RMSD in pm."""

    recall: float
    precision: float
    rmsd: float

    def verdict(self, found: dict[str, Any]) -> str:
        """Say whether the aim is met, and what is missed."""
        missed = [
            name
            for name, good in (
                ("recall", found["recall"] >= self.recall),
                ("precision", found["precision"] >= self.precision),
                ("RMSD", found["rmsd_pm"] <= self.rmsd),
            )
            if not good
        ]
        return "met" if not missed else "missed: " + ", ".join(missed)


AIMS = {
    "au_wedge47": Aim(0.999, 0.999, 2.2),
    "au_sparse15": Aim(0.995, 0.995, 8.0),
    "glass47": Aim(0.998, 0.998, 5.0),
    "glass15": Aim(0.98, 0.98, 10.0),
    "glass30": Aim(0.95, 0.95, 20.0),
    "aet_ta_area23": Aim(0.95, 0.93, 22.0),
}
ELEMENTS = {
    "au_wedge47": AU, "au_sparse15": AU, "glass47": GLASS, "glass15": GLASS, "glass30": GLASS, "aet_ta_area23": ("Ta",),
    "fept15": ("Fe", "Pt"), "ag15": ("Ag",), "cuau21": ("Cu", "Au"), "nirhir15": ("Ni", "Rh", "Ir"),
}  # fmt: skip
HELD_OUT = ("fept15", "ag15", "cuau21", "nirhir15")

# One thing off at a time. Atoms are isotropic Gaussians in all: the fit has no others.
ABLATIONS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "widths as first guessed": {"learn_width": False},
    "plain Gaussians, no profile": {"learn_profile": False},
    "every mass on its own": {"tie_masses": False},
    "no births": {"births": False},
    "no merging": {"merging": False},
    "views as given": {"calibrate": False},
    "all of these: plain splatting": {
        "learn_width": False, "learn_profile": False, "tie_masses": False, "births": False, "merging": False,
        "calibrate": False,
    },
}  # fmt: skip


# ------------------------------------------------------------------------------------------------ one fit
@dataclass(frozen=True)
class Bench:
    """Where things are, and whether results of earlier runs count."""

    cache: Path
    shared: Path
    kept: bool

    def paths(self, case: str) -> tuple[Path, Path]:
        """Return series and truth, made where they are ours to make."""
        if case == "aet_ta_area23":
            return self.shared / f"{case}.npz", self.shared / f"{case}_reference.xyz"
        if case.startswith("au_"):
            return self.shared / f"{case}.npz", self.shared / f"{case}_truth.xyz"
        from _potentials import make

        return make(case, self.cache, self.shared / "models")

    def fit(self, series: Path, method: str, **options: Any) -> dict[str, Any]:
        """Run a method on a file in a process of its own: its atoms, notes, seconds and peak memory."""
        label = "_".join([series.stem, method, *(f"{k}={v}" for k, v in sorted(options.items()))])
        kept = self.cache / "results" / ("".join(c if c.isalnum() or c in "=._-" else "-" for c in label) + ".npz")
        if not (self.kept and kept.exists()):
            kept.parent.mkdir(parents=True, exist_ok=True)
            order = {"series": str(series), "method": method, "options": options, "out": str(kept)}
            began = time.perf_counter()
            subprocess.run([sys.executable, __file__, "--one", json.dumps(order)], check=True, cwd=HERE.parent)
            seconds = time.perf_counter() - began
            with np.load(kept, allow_pickle=False) as file:
                held = dict(file)
            np.savez(kept, **held | {"seconds": seconds})
        with np.load(kept, allow_pickle=False) as file:
            return {k: file[k] for k in file} | {"notes": json.loads(str(file["notes"]))}


def one(order: dict[str, Any]) -> None:
    """Be the process of :meth:`Bench.fit`."""
    import splatom

    series = splatom.read(order["series"])
    options = dict(order["options"])
    every = options.pop("hold_out_every", None)
    if every:
        series = series.with_(held_out=np.arange(len(series)) % every == every // 2)
    atoms = splatom.run("atoms", order["method"], series, **options)
    optional = {
        name: getattr(atoms, name)
        for name in ("sigma_zyx", "amplitude", "b_factor", "confidence")
        if getattr(atoms, name, None) is not None
    }
    np.savez(
        order["out"], positions_zyx=atoms.positions_zyx, species=atoms.species, peak_gb=_peak(),
        cpu_seconds=time.process_time(),
        notes=json.dumps(atoms.provenance.steps[-1].notes, default=str), **optional,
    )  # fmt: skip


def _peak() -> float:
    """Peak memory of this process in GB, NaN where the system does not tell."""
    try:
        import resource
    except ImportError:
        return float("nan")
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 1e9


# ------------------------------------------------------------------------------------------------ its judgement
def judge(found: dict[str, Any], truth: Path) -> dict[str, Any]:
    """Match with the truth within 1 Å after the best translation; the share of atoms within their stated 1 σ."""
    import splatom
    from splatom.data import Atoms
    from splatom.evaluate import match_atoms

    real = splatom.read(truth)
    match = match_atoms(Atoms(found["positions_zyx"], found["species"]), real, 0.1)
    out = match.to_dict() | {"n": len(found["positions_zyx"]), "offsets": match.offsets_zyx}
    out["axes_pm"] = 1000 * np.sqrt((match.offsets_zyx[:, ::-1] ** 2).mean(axis=0))
    if "sigma_zyx" in found:
        within = np.abs(match.offsets_zyx) <= found["sigma_zyx"][match.found]
        out["within_zyx"] = 100 * within.mean(axis=0)
    return out


def bound_of(case: str, bench: Bench, free: bool) -> float:
    from ase.io import read

    from _bounds import cached
    from splatom.geometry import ViewGeometry

    series, truth = bench.paths(case)
    with np.load(series) as file:
        geometry, pixel = ViewGeometry.single_axis(file["angles"]), 10 * float(file["pixel_size"])
    return cached(case, read(truth), geometry, pixel, bench.cache, free_masses=free).rmsd


def _row(name: str, found: dict[str, Any], score: dict[str, Any], more: str = "") -> str:
    axes = "/".join(f"{a:.1f}" for a in score["axes_pm"])
    text = (
        f"  {name:34} n {score['n']:5d}  recall {score['recall']:.4f}  precision {score['precision']:.4f}  "
        f"RMSD {score['rmsd_pm']:5.2f} pm (x/y/z {axes}){more}  {found['seconds']:4.0f} s "
        f"({found['cpu_seconds']:.0f} s of cores)  {found['peak_gb']:.1f} GB"
    )
    if score["species_accuracy"] is not None:
        text += f"  species {score['species_accuracy']:.3f}"
    if "within_zyx" in score:
        text += "  within 1 σ, x/y/z " + "/".join(f"{w:.0f}" for w in score["within_zyx"][::-1]) + " %"
    return text


def accuracy(cases: list[str], bench: Bench) -> None:
    for case in cases:
        series, truth = bench.paths(case)
        known, free = bound_of(case, bench, False), bound_of(case, bench, True)
        print(f"{case}: bound {known:.2f} pm, with free masses {free:.2f} pm", flush=True)
        runs: list[tuple[str, str, dict[str, Any]]] = [
            ("SIRT + trace", "trace", {}),
            ("gaussian-atoms", "gaussian-atoms", {}),
            ("gaussian-atoms, elements named", "gaussian-atoms", {"elements": ELEMENTS[case]}),
        ]
        for name, method, options in runs:
            found = bench.fit(series, method, **options)
            score = judge(found, truth)
            print(_row(name, found, score, f" = {score['rmsd_pm'] / known:.2f} of the bound"), end="")
            print(f"  {AIMS[case].verdict(score)}" if case in AIMS else "", flush=True)


def ablation(cases: list[str], bench: Bench) -> None:
    for case in cases:
        series, truth = bench.paths(case)
        print(f"{case}: one thing off at a time")
        for name, options in ABLATIONS.items():
            found = bench.fit(series, "gaussian-atoms", **options)
            print(_row(name, found, judge(found, truth)), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = ("accuracy", "held-out", "film", "calibration", "ablation")
    parser.add_argument("parts", nargs="*", choices=[*parts, []], metavar="PART")
    parser.add_argument("--cases", nargs="+")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "splatom-atoms")
    parser.add_argument("--shared", type=Path, default=SHARED, help="the folder of the real data")
    parser.add_argument("--kept", action="store_true", help="do not repeat fits whose results are kept")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        one(json.loads(args.one))
        return
    bench = Bench(args.cache, args.shared, args.kept)
    if not bench.shared.is_dir():
        print(f"the real data sets are not here ({bench.shared} is missing): nothing to measure on")
        return
    chosen = args.parts or ["accuracy", "film"]
    if "accuracy" in chosen:
        accuracy(args.cases or [c for c in AIMS if c != "aet_ta_area23"], bench)
    if "held-out" in chosen:
        accuracy(args.cases or list(HELD_OUT), bench)
    if "film" in chosen:
        from _atom_studies import film

        film(bench, AIMS["aet_ta_area23"])
    if "calibration" in chosen:
        from _atom_studies import calibration

        calibration(bench, args.cases or ["glass47"])
    if "ablation" in chosen:
        ablation(args.cases or ["glass15"], bench)


if __name__ == "__main__":
    main()
