"""The atom fit from a series to atoms: start, rounds, errors, result."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from splatom.data import Atoms, GaussianCloud, TiltSeries
from splatom.methods.atoms import _fit
from splatom.methods.atoms._classes import classes_of, free_masses, half_the_lightest, tie
from splatom.methods.atoms._deconvolve import Deconvolution
from splatom.methods.atoms._edits import Edits
from splatom.methods.atoms._model import CALIBRATION, Linear, Model, State
from splatom.methods.atoms._newton import Prior, descend
from splatom.methods.atoms._species import atomic_numbers
from splatom.methods.atoms._uncertainty import residual_variance, sampled
from splatom.methods.atoms._working import Working, working_images
from splatom.methods.reconstruct._problem import ReconstructParams, choose_box, prepared_series

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from splatom.jobs.job import Job

__all__ = ["fit_atoms"]

_STEPS = 4  # of Gauss-Newton in a round
_LAST_STEPS = 12  # in the last one
_SETTLED = 1e-5  # relative fall of the loss in a step at which the last round ends
_FIRST_CALIBRATED = 2  # round from which views are calibrated: atoms have to be in place first
_SECOND_START = 2  # round before which atoms may be looked for anew
_MOST, _MOST_FILM = 500, 50  # passes of a deconvolution by default; a film's box is large and it is made twice
_SHARPER = 0.9  # width of the deconvolution in that of an atom: a little less, so that nothing is sharpened too far
_CLOSEST = 0.52  # least distance of two atoms in the typical one of neighbours: what is nearer is merged
_APART = 1.2  # of new atoms, in the least distance: one that is to come in has to be clearly another
_SMOOTH = 1.6  # nm: shortest period of a film's background, several distances between atoms
_BOUND = 4.0  # spreads that no view's calibration passes
_BAD_FIT = 0.3  # R-free beyond what noise explains that makes the angles doubtful
_DENOISED = 10.0  # residual over the noise of the highest frequencies: images that were smoothed


def fit_atoms(series: TiltSeries, job: Job[Any]) -> Atoms:
    """Run the whole fit; see :mod:`splatom.methods.atoms.gaussian_atoms`."""
    atomic_numbers(job.params.elements or ())
    restored = job.restore()
    params = job.params
    if len(np.unique(np.round(series.angles, 3))) < 3:
        raise ValueError("atoms need at least three different tilts; this series has fewer")
    if not series.projections.any():
        raise ValueError("all projections are zero: there is nothing to fit")
    if params.hold_out and not series.held_out.any():
        series = series.holding_out(params.hold_out, job.seed)
    boxed = ReconstructParams(specimen=params.specimen, thickness=params.thickness, depth=params.depth)
    box = choose_box(series, boxed, job.note)
    prepared = prepared_series(series, box.film, params.subtract_background, job.note)
    kept = ~prepared.held_out & (prepared.weights > 0)
    if kept.sum() < 3:
        raise ValueError("fewer than three tilts are left to fit: the others are held out or have weight zero")
    working = working_images(prepared[kept], box.film, params.width)
    job.note(working_pixel_nm=_short(working.pixel), first_width_nm=_short(working.sigma * working.pixel))
    scale = series.pixel_nm / working.pixel
    deep, high, wide = (max(3, int(np.ceil(s * scale))) for s in box.solved)
    run = _Run(series, prepared, working, job, (deep, high, wide), box.film)
    if restored is None:
        state = run.start()
        first = 0
    else:
        state, first = run.restore(restored), int(restored["round"])
    with job.keeping_partial():
        for number in range(first, 10_000):
            if number >= job.params.rounds:
                break
            state = run.round(state, number)
    return run.result(run.last or state, box.result)


@dataclass
class _Run:
    """One fit on its way."""

    series: TiltSeries
    prepared: TiltSeries
    working: Working
    job: Job[Any]
    box: tuple[int, int, int]
    film: bool
    model: Model = field(init=False)
    deconvolution: Deconvolution = field(init=False)
    last: State | None = None
    tied: Prior | None = None
    start_passes: int = 0
    birth_passes: int = 0
    starts_twice: bool = False
    colour: float = 1.0

    def __post_init__(self) -> None:
        w, job = self.working, self.job
        data, weights = (torch.from_numpy(a).to(job.device) for a in (w.data, w.weights))
        wavelength = _SMOOTH / w.pixel if self.film else float("inf")
        self.model = Model(w.geometry, data, weights, job.device, job.check, wavelength)
        self.deconvolution = Deconvolution(w.geometry, self.box, weights, job.device, job.check)
        self.edits = Edits(w.pixel)
        self.noise = w.noise
        views = len(w.data)
        # Few tilts and a narrow range make the deconvolution slow to tell atoms apart along the beam.
        spread = max(float(np.ptp(self.prepared.angles)), 20.0)
        needed = np.clip(500_000 / (views * spread), 30, _MOST_FILM if self.film else _MOST)
        self.start_passes = job.params.start_passes or int(needed)
        self.birth_passes = int(np.clip(self.start_passes // 5, 10, 40))
        # Errors beyond noise (a film's surroundings, smoothed images) mislead the first guess of the width.
        self.starts_twice = self.film
        self.size = float((data.abs() * (weights > 0)).sum())

    # ---------------------------------------------------------------- steps of the whole
    @property
    def total(self) -> int:
        """Ticks of the whole run."""
        p = self.job.params
        return self.begun(p.rounds - 1) + _LAST_STEPS + (p.samples if p.uncertainty else 0)

    def start(self) -> State:
        """Find the first atoms in a deconvolved volume."""
        w, job = self.working, self.job

        def each(number: int, volume: torch.Tensor) -> None:
            job.tick(number, self.total)

        points = self.deconvolution.solve(self.model.data, _SHARPER * w.sigma, self.start_passes, each)
        found = _fit.first_atoms(points, w.sigma, 2.6 * w.sigma)
        if len(found.mass) == 0:
            raise ValueError("no atom was found: the images hold no peaks of the expected width; give a width")
        job.note(first_atoms=len(found.mass))
        views, n, zeros = len(w.data), len(found.mass), torch.zeros

        def tensor(values: Any, kind: torch.dtype = torch.float32) -> torch.Tensor:
            return torch.as_tensor(values, dtype=kind, device=job.device)

        state = State(
            tensor(found.centres), tensor(found.mass), tensor(range(n), torch.int64), tensor(np.zeros(n), torch.int64),
            tensor([np.log(w.sigma)]), tensor(zeros(views, 2)), tensor(zeros(views, 3)), tensor(zeros(views)),
            tensor(zeros(views, len(self.model.smooth))),
        )  # fmt: skip
        self.last = state
        return state

    def start_again(self, state: State, begun: int) -> State:
        """Find the atoms anew, now that their width, the background and typical distances are known."""
        linear, sigma = self.model.at(state), float(state.sigma.mean())

        def each(number: int, volume: torch.Tensor) -> None:
            self.job.tick(begun + number, self.total)

        data = torch.where(self.model.weights > 0, self.model.data - self.model.background(state.background), 0.0)
        points = self.deconvolution.solve(data / linear.gain, _SHARPER * sigma, self.start_passes, each)
        found = _fit.first_atoms(points, sigma, _APART * self.closest(state))
        if len(found.mass) < 2:
            return state
        both = state.add(torch.from_numpy(found.centres), torch.from_numpy(found.mass))
        new = both.keep(torch.arange(len(state), len(both), device=both.ids.device))
        return new.with_(mass=free_masses(self.model.at(new)).clamp_min(0.0))

    def closest(self, state: State) -> float:
        """Return the least distance of two atoms in working pixels."""
        least = self.job.params.min_distance
        return _CLOSEST * _fit.neighbour_distance(state) if least is None else least / self.working.pixel

    def begun(self, number: int) -> int:
        """Return the ticks before a round."""
        starts = 2 if self.starts_twice and number >= _SECOND_START else 1
        return starts * self.start_passes + number * _STEPS

    @property
    def smoothed(self) -> bool:
        """Whether the fit leaves over much more than the noise of the highest frequencies."""
        return self.noise > _DENOISED * self.working.noise

    @property
    def calibrates(self) -> bool:
        """Whether the views are fitted along."""
        asked = self.job.params.calibrate
        return not self.doubtful if asked is None else asked

    @property
    def doubtful(self) -> bool:
        """Whether the images are smoothed ones of a film: their errors are not noise."""
        return self.film and self.smoothed

    def names(self, number: int) -> tuple[str, ...]:
        """Return the unknowns that move in a round."""
        p = self.job.params
        out = ["centres", "mass", "background"]
        if p.learn_width and number >= 1:
            out.append("log_width")
        if self.calibrates and number >= min(_FIRST_CALIBRATED, p.rounds - 1):
            out += [c for c in CALIBRATION if c != "background"]
        return tuple(out)

    @property
    def spreads(self) -> dict[str, float]:
        """How far the views' unknowns may be off, one standard deviation: working pixels, rad, logarithm."""
        p = self.job.params
        pixels = p.shift_spread * self.series.pixel_nm / self.working.pixel
        return {"shifts": pixels, "turns": float(np.deg2rad(p.turn_spread)), "log_gain": p.gain_spread}

    def prior(self) -> Prior:
        """Return the penalties now: on calibration, and on masses where they are tied."""
        ones, views, spreads = self.model.data.new_ones, len(self.model.data), self.spreads
        shapes = {"shifts": (views, 2), "turns": (views, 3), "log_gain": (views,)}
        noise = self.noise * self.colour
        precision = {k: noise / spreads[k] ** 2 * ones(shape) for k, shape in shapes.items()}
        if self.tied is None:
            return Prior(precision)
        return Prior({**precision, **self.tied.precision}, self.tied.centre)

    def round(self, state: State, number: int) -> State:
        """Fit all atoms, then merge, take away and add some; the last round only fits."""
        job, last = self.job, number >= self.job.params.rounds - 1
        begun = self.begun(number)
        # Smoothed images have errors as long as atoms: a fit to the last of them moves atoms after the errors.
        deep = last and not self.doubtful
        steps = _LAST_STEPS if deep else _STEPS
        done = 0
        while done < steps:
            walk = descend(
                self.model, state, self.names(number), self.prior(), steps=steps - done,
                iterations=25 if deep else 12, settled=_SETTLED if deep else 1e-4,
                bounds={k: _BOUND * v for k, v in self.spreads.items()},
            )  # fmt: skip
            for step in walk:
                done += 1
                self.last = state = step.linear.state
                edits = job.tick(begun + done, self.total, self._preview(state), figures=self.figures(step.linear))
                if edits:
                    state, self.tied = self.edits.apply(state, edits), None
                    self.last = state
                    break
            else:
                break
        if last:
            return state
        if number + 1 == _SECOND_START and self.starts_twice and not self.edits.made:
            state = self.start_again(state, begun + steps)
        self.last = state = self.revise(state, number)
        edits = job.tick(begun + steps, self.total, self._preview(state), state=lambda: self.saved(state, number + 1))
        if edits:  # they come with any tick, the last of a round too
            state, self.tied = self.edits.apply(state, edits), None
            self.last = state
        return state

    def revise(self, state: State, number: int) -> State:
        """Take away what is no atom, merge what is one, add what is missing, and learn what atoms have in common."""
        p = self.job.params
        state = self.without_ghosts(state, number)
        closest = self.closest(state)
        if p.merging and np.isfinite(closest):
            state = _fit.merged(state, closest)
        linear = self.model.at(state)
        if p.births and number < p.rounds - 2:
            before = len(state)
            usual = float(state.mass.median())
            most = max(3, before // 8)
            state = _fit.born(linear, self.deconvolution, _APART * closest, 0.1 * usual, most, self.birth_passes)
            if len(state) > before:
                linear = self.model.at(state)
        if number >= 1:
            self.noise, self.colour = residual_variance(linear, self.unknowns(state)), linear.noise_where_atoms_are()
            if p.learn_profile:
                state = self.model.learn_filter(linear, self.noise)
                linear = self.model.at(state)
            self.tied = None
            if p.tie_masses and len(state) > 10:
                state, self.tied = tie(linear, self.noise, self.colour, p.elements or (), self.job.seed + number)
        return state

    def without_ghosts(self, state: State, number: int) -> State:
        """Take away what is too light to be an atom: by the valley of the masses, later by the species there are."""
        p = self.job.params
        mass = state.mass
        if p.min_mass is not None:
            least = p.min_mass * float(mass.median())
        elif number < _SECOND_START:
            least = _fit.least_mass(mass)
        else:
            mass = free_masses(self.model.at(state))  # tied to its species, a ghost would look like an atom
            least = half_the_lightest(mass, p.elements or ())
        kept = state.keep(mass > least)
        return kept if len(kept) >= 2 else state

    # ---------------------------------------------------------------- what is seen of it
    def unknowns(self, state: State) -> int:
        """Count what is fitted."""
        per_atom = 3 if self.tied is not None else 4
        return per_atom * len(state) + (7 * len(self.model.data) if self.calibrates else 0)

    def figures(self, linear: Linear) -> dict[str, float]:
        """Return loss, R and counts."""
        state = linear.state
        off = float((linear.residual.abs() * (self.model.weights > 0)).sum())
        return {
            "loss": linear.loss / max(float(self.model.weights.sum()) * self.noise / 2, 1e-30),
            "r": off / max(self.size, 1e-30),
            "n_atoms": float(len(state)),
            "width_pm": 1000 * float(state.sigma.mean()) * self.working.pixel,
        }

    def cloud(self, state: State) -> GaussianCloud:
        """Return the atoms as a cloud of Gaussians in nm."""
        pixel = self.working.pixel
        sigma = state.sigma.cpu().numpy() * np.float32(pixel)
        return GaussianCloud(
            state.centres.cpu().numpy() * np.float32(pixel),
            np.repeat(sigma[:, None], 3, axis=1),
            state.mass.cpu().numpy() * np.float32(pixel**2),
            ids=state.ids.cpu().numpy(),
        )

    def _preview(self, state: State) -> Any:
        return lambda: self.cloud(state)

    # ---------------------------------------------------------------- checkpoints
    def saved(self, state: State, number: int) -> dict[str, Any]:
        """Return everything that the next round needs."""
        out: dict[str, Any] = {**state.arrays(), "round": number, "noise": self.noise, "colour": self.colour}
        if self.model.filter is not None:
            out["filter"] = self.model.filter.cpu().numpy()
        if self.tied is not None:
            for kind, values in (("precision", self.tied.precision), ("centre", self.tied.centre)):
                out |= {f"{kind}.{k}": v.cpu().numpy() for k, v in values.items()}
        return out

    def restore(self, saved: dict[str, Any]) -> State:
        """Inverse of :meth:`saved`."""
        device = self.job.device

        def part(kind: str) -> dict[str, torch.Tensor]:
            named = {k.removeprefix(f"{kind}."): v for k, v in saved.items() if k.startswith(f"{kind}.")}
            return {k: torch.from_numpy(np.array(v)).to(device) for k, v in named.items()}

        self.noise, self.colour = float(saved["noise"]), float(saved["colour"])
        if "filter" in saved:
            self.model.filter = torch.from_numpy(np.array(saved["filter"])).to(device)
        if part("precision"):
            self.tied = Prior(part("precision"), part("centre"))
        self.last = State.from_arrays(saved, device)
        return self.last

    # ---------------------------------------------------------------- the end
    def result(self, state: State, shape: tuple[int, int, int]) -> Atoms:
        """Return the atoms inside the field, with species and errors."""
        job, pixel = self.job, self.working.pixel
        if job.stopped_at is not None:
            self.model.check = lambda: None  # the stop was heard; heard again here, it would lose what there is
        linear = self.model.at(state)
        self.noise = residual_variance(linear, self.unknowns(state))
        job.figures.update(self.figures(linear))
        self._judge(linear)
        elements = job.params.elements or ()
        species = classes_of(free_masses(linear), elements)
        job.note(classes=[_in_nm(c, pixel) for c in species.to_dict()])
        sigma, mass_sigma = self._errors(linear)
        half = np.array([s * self.series.pixel_nm / 2 for s in shape])
        place = state.centres.cpu().numpy().astype(np.float64) * pixel
        inside = (np.abs(place) <= half).all(axis=1)
        job.figures["n_atoms"] = int(inside.sum())
        if self.calibrates:
            self._note_calibration(state)
        elif job.params.calibrate is None:
            job.note(views="as they were given: the images were smoothed")

        def of(values: NDArray[Any] | None) -> NDArray[Any] | None:
            return None if values is None else values[inside]

        return Atoms(
            place[inside],
            species.species[inside],
            sigma_zyx=of(sigma),
            amplitude=of(state.mass.cpu().numpy() * pixel**2),
            b_factor=of(state.sigma.cpu().numpy() * pixel),
            confidence=of(species.confidence),
            amplitude_sigma=of(mass_sigma),
            provenance=self.series.provenance,
        )

    def _errors(self, linear: Linear) -> tuple[NDArray[Any] | None, NDArray[Any] | None]:
        """Return errors in nm and intensity nm², NaN where the images' noise is not what was measured."""
        job, pixel = self.job, self.working.pixel
        if not job.params.uncertainty or job.stopped_at is not None:
            return None, None
        n = len(linear.state)
        steps = {(s.group, s.method) for s in self.series.provenance.steps}
        why = (
            "some tilts are synthetic" if self.prepared.synthetic.any()
            else "the images were denoised" if self.smoothed or any(g == "denoise" for g, _ in steps)
            else ""
        )  # fmt: skip
        job.note(uncertainty=f"not valid: {why}" if why else "one standard deviation, neighbours and views included")
        if why:
            return np.full((n, 3), np.nan), np.full(n, np.nan)
        begun = self.total - job.params.samples
        names = self.names(job.params.rounds)
        with job.keeping_partial():
            sigma, mass = sampled(
                linear, self.noise, self.prior(), names, job.params.samples, job.seed,
                lambda k: job.tick(begun + k, self.total),
            )  # fmt: skip
            return sigma * pixel, mass * pixel**2
        return None, None

    def _judge(self, linear: Linear) -> None:
        """Score the held-out tilts, and say so where even they do not fit."""
        held = self.prepared.held_out
        if not held.any():
            return
        part = working_like(self.prepared[held], self.working, self.job)
        part.smooth = self.model.smooth
        state = linear.state
        blank = {k: torch.zeros_like(getattr(state, k)[:1]).expand(int(held.sum()), *getattr(state, k).shape[1:])
                 for k in CALIBRATION}  # fmt: skip
        part.filter, part.check = self.model.filter, self.model.check
        seen = part.at(state.with_(**{k: v.clone() for k, v in blank.items()}))
        measured, drawn, mask = part.data, seen.seen, (part.weights > 0).float()
        ones = mask.sum((1, 2))
        # A gain and a background per tilt, by least squares.
        mx, my = (drawn * mask).sum((1, 2)) / ones, (measured * mask).sum((1, 2)) / ones
        dx, dy = (drawn - mx[:, None, None]) * mask, (measured - my[:, None, None]) * mask
        gain = (dx * dy).sum((1, 2)) / (dx * dx).sum((1, 2)).clamp_min(1e-30)
        off = float(((gain[:, None, None] * dx - dy).abs() * mask).sum())
        size = float((measured.abs() * mask).sum())
        by_noise = (2 / np.pi * self.working.noise) ** 0.5 * float(mask.sum()) / max(size, 1e-30)
        self.job.figures["r_free"] = r_free = off / max(size, 1e-30)
        if r_free > _BAD_FIT + by_noise:
            self.job.note(
                warning=f"R-free is {r_free:.2f}, of which noise explains {by_noise:.2f}: the angles, the alignment or "
                "the kind of specimen do not fit the images"
            )

    def _note_calibration(self, state: State) -> None:
        scale = self.working.pixel / self.series.pixel_nm
        self.job.note(
            calibration={
                "shifts_pixels": (state.shifts.cpu().numpy() * scale).round(3).tolist(),
                "turns_degrees": np.rad2deg(state.turns.cpu().numpy()).round(4).tolist(),
                "gains": state.log_gain.exp().cpu().numpy().round(4).tolist(),
                "backgrounds": [_short(b) for b in state.background[:, 0].tolist()],
            }
        )


def working_like(series: TiltSeries, working: Working, job: Job[Any]) -> Model:
    """Return the model of other tilts, resampled as the fitted ones were."""
    other = working_images(series, False, None, factor=working.pixel / series.pixel_nm, margin=working.margin)
    data, weights = (torch.from_numpy(a).to(job.device) for a in (other.data, other.weights))
    return Model(other.geometry, data, weights, job.device, job.check)


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def _in_nm(described: dict[str, Any], pixel: float) -> dict[str, Any]:
    return {k: _short(v * pixel**2) if k in ("amplitude", "width") else v for k, v in described.items()}
