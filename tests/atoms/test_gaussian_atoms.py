"""Atoms fitted to images of atoms that are not Gaussians: drawn in Fourier space, with long tails."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from splatom.data import Atoms, GaussianCloud, TiltSeries
from splatom.evaluate import match_atoms
from splatom.geometry import ViewGeometry
from splatom.jobs import CheckpointStore, Job, JobError
from splatom.methods import execute, get
from splatom.methods.atoms._classes import probe
from splatom.methods.atoms._deconvolve import Deconvolution
from splatom.methods.atoms._edits import Edits
from splatom.methods.atoms._fit import least_mass, merged
from splatom.methods.atoms._model import CALIBRATION, Model, State
from splatom.methods.atoms._newton import Prior, blocks, solve
from splatom.methods.atoms._uncertainty import sampled
from splatom.methods.atoms._working import working_images

PIXEL = 0.03  # nm
SIDE = 64
NAMES = ("centres", "mass", "log_width", *CALIBRATION)


def images_of(places: np.ndarray, strength: np.ndarray, geometry: ViewGeometry, side: int = SIDE) -> np.ndarray:
    """Draw atoms with a screened Coulomb's projection, seen by a probe of σ 0.045 nm: exact, by Fourier series."""
    q = np.fft.fftfreq(side)
    radius = np.hypot(q[:, None], q[None]) / PIXEL
    shape = np.exp(-2 * (np.pi * 0.045 * radius) ** 2) / (1 + (2 * np.pi * 0.025 * radius) ** 2)
    out = []
    for seen in geometry.project(places, PIXEL, (side, side)):
        waves = [np.exp(-2j * np.pi * np.outer(q, at)) for at in (seen[:, 1], seen[:, 0])]
        out.append(np.fft.ifft2((waves[0] * strength) @ waves[1].T * shape).real)
    return np.array(out)


def particle(seed: int, count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Return places (nm) at random, 0.22 nm apart or more, and strengths of two species."""
    rng = np.random.default_rng(seed)
    places: list[np.ndarray] = []
    while len(places) < count:
        new = rng.uniform(-0.6, 0.6, 3)
        if all(np.linalg.norm(new - p) > 0.22 for p in places):
            places.append(new)
    at = np.array(places)
    return at - at.mean(axis=0), np.where(rng.random(count) < 0.4, 300.0, 180.0)


def series_of(
    places: np.ndarray, strength: np.ndarray, angles: np.ndarray, noise: float = 1.0, seed: int = 0,
    **errors: np.ndarray,
) -> TiltSeries:  # fmt: skip
    """Return a noisy series whose geometry does not know of the errors (shifts, tilts, gains) put in."""
    true = ViewGeometry.single_axis(angles + errors.get("tilts", 0.0), shifts=errors.get("shifts"))
    images = images_of(places, strength, true) * np.reshape(errors.get("gains", np.ones(len(angles))), (-1, 1, 1))
    images += np.random.default_rng(seed).normal(0, noise, images.shape)
    return TiltSeries(images, ViewGeometry.single_axis(angles), PIXEL)


def fit(series: TiltSeries, **params) -> tuple[Atoms, Job]:
    job = Job(get("atoms", "gaussian-atoms").params(**{"start_passes": 60, **params}))
    return execute("atoms", "gaussian-atoms", series, job), job


ANGLES = np.arange(-66.0, 67, 12.0)


@pytest.fixture(scope="module")
def truth() -> tuple[np.ndarray, np.ndarray]:
    return particle(1)


@pytest.fixture(scope="module")
def fitted(truth) -> tuple[Atoms, Job]:
    return fit(series_of(*truth, ANGLES), samples=16)


# ------------------------------------------------------------------------------------------------ the model
def small(seed: int = 0, count: int = 7) -> tuple[Model, State]:
    rng = np.random.default_rng(seed)

    def tensor(*shape: int, scale: float = 1.0) -> torch.Tensor:
        return torch.as_tensor(rng.normal(0, scale, shape), dtype=torch.float32)

    geometry = ViewGeometry.single_axis([-50.0, 0.0, 30.0, 60.0])
    weights = torch.as_tensor(rng.uniform(0.5, 1.5, (4, 30, 28)), dtype=torch.float32)
    model = Model(geometry, tensor(4, 30, 28), weights, "cpu", lambda: None)
    model.filter = 1 / (1 + model.frequency)
    state = State(
        tensor(count, 3, scale=4.0), 50 + tensor(count).abs(), torch.arange(count), torch.arange(count) % 2,
        torch.tensor([0.3, 0.5]), tensor(4, 2, scale=0.3), tensor(4, 3, scale=0.02), tensor(4, scale=0.1), tensor(4, 1),
    )  # fmt: skip
    return model, state


def direction(state: State, seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {k: torch.randn(getattr(state, k).shape, generator=generator) for k in NAMES}


def test_the_derivative_and_its_adjoint_agree() -> None:
    model, state = small()
    linear, d = model.at(state), direction(state, 1)
    images = torch.randn(model.data.shape, generator=torch.Generator().manual_seed(2))
    across = float((model.weights * linear.forward(d) * images).sum())
    back = linear.adjoint(images, NAMES)
    assert across == pytest.approx(sum(float((back[k] * d[k]).sum()) for k in NAMES), rel=2e-4)


@pytest.mark.parametrize("name", NAMES)
def test_the_derivative_is_that_of_the_images(name) -> None:
    model, state = small()
    d = {k: torch.zeros_like(v) for k, v in direction(state, 0).items()} | {name: direction(state, 3)[name]}
    h = 1e-2 if name in ("background", "mass", "centres") else 1e-3
    ends = [model.at(state.with_(**{name: getattr(state, name) + s * h * d[name]})).residual for s in (1, -1)]
    slope = (ends[0] - ends[1]) / (2 * h)
    found = model.at(state).forward(d)
    assert float((found - slope).norm() / slope.norm()) < 5e-3


def test_the_atoms_own_curvature_is_that_of_its_gaussian() -> None:
    geometry = ViewGeometry.single_axis([-60.0, -10.0, 40.0])
    model = Model(geometry, torch.zeros(3, 40, 40), torch.ones(3, 40, 40), "cpu", lambda: None)
    views = (torch.zeros(s) for s in ((3, 2), (3, 3), (3,), (3, 1)))
    alone = (torch.tensor([70.0]), torch.arange(1), torch.zeros(1, dtype=torch.long), torch.tensor([0.4]))
    one = State(torch.tensor([[1.0, 2.0, 3.0]]), *alone, *views)
    linear = model.at(one)
    position, mass = blocks(linear)
    rows = [linear.forward({"centres": torch.eye(3)[None, k], "mass": torch.zeros(1)}) for k in range(3)]
    gram = torch.tensor([[float((a * b).sum()) for a in rows] for b in rows])
    assert torch.allclose(position[0], gram, rtol=1e-3, atol=1e-3 * float(gram.max()))
    image = linear.forward({"centres": torch.zeros(1, 3), "mass": torch.ones(1)})
    assert float(mass) == pytest.approx(float((image * image).sum()), rel=1e-3)


def test_conjugate_gradients_solve_the_coupled_problem() -> None:
    model, state = small()
    linear = model.at(state)
    names = ("centres", "mass", "background")
    d = direction(state, 5)
    wanted = {k: d[k] for k in names}
    right = linear.adjoint(linear.forward(wanted), names)
    found = solve(linear, right, Prior(), 1e-9, 300, 1e-6)
    assert float((linear.forward(found) - linear.forward(wanted)).norm() / linear.forward(wanted).norm()) < 1e-2


def test_sampled_errors_are_those_of_the_whole_inverse() -> None:
    model, state = small(count=12)
    state = state.with_(centres=state.centres * 0.6)  # they overlap
    noise = 0.25
    white = torch.randn(model.data.shape, generator=torch.Generator().manual_seed(8))
    model.data = model.data + model.at(state).residual + white * (noise / model.weights).sqrt()
    linear = model.at(state)
    n = len(state)
    columns = []
    for k in range(4 * n):
        unit = torch.zeros(4 * n)
        unit[k] = 1.0
        columns.append(linear.forward({"centres": unit[: 3 * n].view(n, 3), "mass": unit[3 * n :]}).flatten())
    jacobian = torch.stack(columns, 1).double()
    normal = jacobian.T @ (model.weights.flatten().double()[:, None] * jacobian)
    exact = noise * torch.linalg.inv(normal).diagonal()[: 3 * n].numpy()
    draws = [probe(linear, noise, Prior(), ("centres", "mass"), s, 100)["centres"].flatten().numpy() for s in range(40)]
    ratio = np.mean(np.square(draws), axis=0) / exact
    assert 0.8 < np.median(ratio) < 1.2
    alone = noise * np.linalg.inv(blocks(linear)[0].double().numpy()).diagonal(axis1=1, axis2=2)
    assert np.median(exact / alone.ravel()) > 1.2  # what an atom's own block leaves out
    sigma, _ = sampled(linear, noise, Prior(), ("centres", "mass"), 20, 0, lambda k: None)
    assert sigma.shape == (n, 3)


# ------------------------------------------------------------------------------------------------ its parts
def test_working_pixels_keep_places_and_brightness(truth) -> None:
    series = series_of(*truth, ANGLES[::4], noise=4.0)
    working = working_images(series, False, None)
    factor = working.pixel / PIXEL
    assert factor > 1  # the probe resolves less than the pixels do
    assert working.data.sum() * factor**2 == pytest.approx(series.projections.sum(), rel=0.02)
    at = working.geometry.project(truth[0], working.pixel, working.data.shape[1:])
    for image, seen in zip(working.data, np.rint(at).astype(int), strict=True):
        assert image[seen[:, 1], seen[:, 0]].mean() > image[seen[:, 1] + 2, seen[:, 0]].mean()


def test_deconvolution_is_sharper_than_the_images_and_not_negative(truth) -> None:
    working = working_images(series_of(*truth, ANGLES), False, None)
    weights = torch.from_numpy(working.weights)
    solver = Deconvolution(working.geometry, (40, 40, 40), weights, "cpu", lambda: None)
    points = solver.solve(torch.from_numpy(working.data), working.sigma, 30)
    assert float(points.min()) == 0
    assert float((points == 0).float().mean()) > 0.5  # sparse


def test_merging_keeps_mass_and_its_centre() -> None:
    _, state = small(count=20)
    close = state.with_(centres=state.centres * 0.2)
    after = merged(close, 0.8)
    assert len(after) < len(close)
    assert float(after.mass.sum()) == pytest.approx(float(close.mass.sum()), rel=1e-5)
    before = (close.mass[:, None] * close.centres).sum(0)
    assert torch.allclose((after.mass[:, None] * after.centres).sum(0), before, rtol=1e-3, atol=1e-2)
    assert set(after.ids.tolist()) <= set(close.ids.tolist())


def test_the_valley_spares_a_light_species() -> None:
    rng = np.random.default_rng(0)
    ghosts = rng.exponential(3.0, 60)
    light, heavy = rng.normal(25, 2, 300), rng.normal(100, 5, 400)
    least = least_mass(torch.as_tensor(np.concatenate([ghosts, light, heavy])))
    assert 5 < least < 20
    assert (ghosts < least).mean() > 0.8


def test_edits_delete_move_add_and_are_undone() -> None:
    _, state = small()
    edits = Edits(pixel=0.5)
    one = edits.apply(state, ({"delete": [1, 99]},))
    assert one.ids.tolist() == [0, 2, 3, 4, 5, 6]
    two = edits.apply(one, ({"move": {"2": [1.0, 2.0, 3.0]}}, {"add": [[0.0, 0.5, 1.0]]}))
    assert two.centres[1].tolist() == [2.0, 4.0, 6.0]
    assert two.centres[-1].tolist() == [0.0, 1.0, 2.0]
    assert int(two.ids[-1]) == 7
    back = edits.apply(two, ({"undo": True}, {"undo": True}))
    assert torch.equal(back.centres, one.centres)


# ------------------------------------------------------------------------------------------------ the fit
def test_atoms_of_two_species_are_found_placed_and_told_apart(truth, fitted) -> None:
    atoms, job = fitted
    found = match_atoms(atoms, Atoms(truth[0]), 0.1)
    assert found.recall == 1
    assert found.precision == 1
    assert found.rmsd_pm < 4
    heavy = truth[1] > 200
    order = np.argsort([np.argmin(np.linalg.norm(truth[0] - p, axis=1)) for p in atoms.positions_zyx])
    assert (atoms.amplitude[order][heavy].min()) > atoms.amplitude[order][~heavy].max()
    assert len(job.notes["classes"]) == 2
    assert (atoms.confidence > 0.9).all()


def test_named_elements_name_the_species(truth) -> None:
    atoms, _ = fit(series_of(*truth, ANGLES), elements=("Au", "Cu"), rounds=4, uncertainty=False)
    assert set(atoms.species) == {"Au", "Cu"}
    assert (atoms.species == "Au").sum() == (truth[1] > 200).sum()
    assert atoms.sigma_zyx is None


def test_stated_errors_are_the_true_ones(truth, fitted) -> None:
    atoms, _ = fitted
    near = [np.argmin(np.linalg.norm(truth[0] - p, axis=1)) for p in atoms.positions_zyx]
    off = atoms.positions_zyx - truth[0][near]
    off -= off.mean(axis=0)
    inside = (np.abs(off) < atoms.sigma_zyx).mean()
    assert 0.55 < inside < 0.81
    assert (atoms.amplitude_sigma > 0).all()


@pytest.mark.slow
def test_errors_of_the_views_are_found_and_do_no_harm(truth) -> None:
    angles = np.arange(-69.0, 70, 6.0)
    rng = np.random.default_rng(4)
    shifts = rng.normal(0, 1.0, (len(angles), 2))
    tilts = rng.normal(0, 0.5, len(angles))
    gains = np.exp(rng.normal(0, 0.1, len(angles)))
    wrong = series_of(*truth, angles, shifts=shifts, tilts=tilts, gains=gains)
    free, job = fit(wrong, uncertainty=False, rounds=8)
    held, _ = fit(wrong, uncertainty=False, rounds=8, calibrate=False)
    right, _ = fit(series_of(*truth, angles), uncertainty=False, rounds=8)
    rmsd = [match_atoms(a, Atoms(truth[0]), 0.1).rmsd_pm for a in (free, held, right)]
    assert rmsd[0] < 1.5 * rmsd[2]
    assert rmsd[1] > 3 * rmsd[0]
    found = job.notes["calibration"]
    assert np.corrcoef(np.log(found["gains"]), np.log(gains))[0, 1] > 0.99


def test_atoms_missed_at_the_start_are_born() -> None:
    places, strength = particle(7, 40)
    series = series_of(places, strength, ANGLES)
    born, _ = fit(series, start_passes=8, uncertainty=False)
    none, _ = fit(series, start_passes=8, uncertainty=False, births=False)
    assert match_atoms(born, Atoms(places), 0.1).recall >= match_atoms(none, Atoms(places), 0.1).recall
    assert match_atoms(born, Atoms(places), 0.1).recall == 1


# ------------------------------------------------------------------------------------------------ as a job
def test_previews_are_clouds_with_ids_and_a_stop_keeps_the_atoms(truth) -> None:
    job = Job(get("atoms", "gaussian-atoms").params(start_passes=60))
    seen: list[GaussianCloud] = []
    tick = job.tick

    def watching(step, total, snapshot=None, **kwargs):
        if snapshot is not None:
            seen.append(snapshot())
            if len(seen) == 6:
                job.stop()
        return tick(step, total, snapshot, **kwargs)

    job.tick = watching
    atoms = execute("atoms", "gaussian-atoms", series_of(*truth, ANGLES), job)
    assert job.stopped_at is not None
    assert len(atoms) > 40
    assert isinstance(seen[-1], GaussianCloud)
    assert len(set(seen[-1].ids.tolist())) == len(seen[-1])


def test_an_edit_of_a_running_fit_is_taken(truth) -> None:
    job = Job(get("atoms", "gaussian-atoms").params(start_passes=60, rounds=2, births=False, uncertainty=False))
    tick, gone = job.tick, []

    def deleting(step, total, snapshot=None, **kwargs):
        if snapshot is not None and not gone:
            cloud = snapshot()
            heaviest = int(cloud.ids[np.argmax(cloud.mass)])
            gone.append(heaviest)
            job.edit({"delete": [heaviest]})
        elif snapshot is not None and len(gone) == 1:
            gone.append(0)
        elif snapshot is not None:
            assert gone[0] not in snapshot().ids
        return tick(step, total, snapshot, **kwargs)

    job.tick = deleting
    execute("atoms", "gaussian-atoms", series_of(*truth, ANGLES), job)
    assert job.events[0][1] == {"edit": {"delete": [gone[0]]}}


def test_a_resumed_fit_ends_where_the_whole_one_does(truth, tmp_path) -> None:
    series = series_of(*truth, ANGLES)
    method = get("atoms", "gaussian-atoms")
    params = method.params(start_passes=60, rounds=4, uncertainty=False)
    whole_job = Job(params)
    whole = execute("atoms", "gaussian-atoms", series, whole_job)
    store = CheckpointStore(tmp_path, {"run": 1})
    first = Job(params, checkpoints=store, checkpoint_every=0.0, stop_at=whole_job.curves["loss"][0][0] + 9)
    execute("atoms", "gaussian-atoms", series, first)
    resumed = execute("atoms", "gaussian-atoms", series, Job(params, checkpoints=store))
    np.testing.assert_array_equal(resumed.positions_zyx, whole.positions_zyx)
    np.testing.assert_array_equal(resumed.amplitude, whole.amplitude)


# ------------------------------------------------------------------------------------------------ bad input
def test_too_few_tilts_and_empty_images_are_said(truth) -> None:
    series = series_of(*truth, ANGLES)
    with pytest.raises((JobError, ValueError), match="three different tilts"):
        fit(series[:2])
    with pytest.raises((JobError, ValueError), match="zero"):
        fit(series.with_(projections=np.zeros_like(series.projections)))
    with pytest.raises((JobError, ValueError), match="no such element"):
        fit(series, elements=("Qq",))


def test_angles_that_do_not_fit_are_said(truth) -> None:
    series = series_of(*truth, ANGLES)
    wrong = series.with_(geometry=ViewGeometry.single_axis(np.random.default_rng(0).permutation(ANGLES)))
    _, job = fit(wrong, hold_out=0.2, rounds=2, uncertainty=False)
    assert "do not fit" in job.notes["warning"]
    _, job = fit(series, hold_out=0.2, rounds=3, uncertainty=False)
    assert "warning" not in job.notes


def test_errors_of_denoised_images_are_marked_invalid(truth) -> None:
    from scipy.ndimage import gaussian_filter

    series = series_of(*truth, ANGLES, noise=4.0)
    smooth = gaussian_filter(series.projections, (0, 1.2, 1.2))
    atoms, job = fit(series.with_(projections=smooth), rounds=3)
    assert np.isnan(atoms.sigma_zyx).all()
    assert "not valid" in job.notes["uncertainty"]
