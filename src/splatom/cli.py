"""The commands: ``splatom …``; options come from the Params models."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from pydantic import ValidationError

import splatom
from splatom import _cli_calibrate
from splatom._cli_train import add_train, run_train
from splatom.data import MethodParams, TiltSeries
from splatom.jobs import Job, JobError, Outcome, Task, perform, prepared
from splatom.methods import GROUPS, Method, find
from splatom.options import fault_text, field_kind, from_text, option_name, to_text

__all__ = ["main"]

_NUMBER = re.compile(r"^-(\d|\.\d)")
_INTERRUPTED = 130


class _Fault(Exception):
    """Ends the command with status 1 and one line."""


class _Parser(argparse.ArgumentParser):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=argparse.ArgumentDefaultsHelpFormatter, **kwargs)

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        sys.stderr.write(f"splatom: error: {message}\n")
        raise SystemExit(2)


# -------------------------------------------------------------------- parser
def _join_numbers(words: Sequence[str]) -> list[str]:
    """Join ``--option -36,-34`` to ``--option=-36,-34``: argparse takes a leading minus for an option."""
    out: list[str] = []
    for word in words:
        if _NUMBER.match(word) and out and out[-1].startswith("--") and "=" not in out[-1]:
            out[-1] += f"={word}"
        else:
            out.append(word)
    return out


def _add_fields(parser: argparse.ArgumentParser, model: type[MethodParams]) -> None:
    group = parser.add_argument_group("parameters")
    for name, info in model.model_fields.items():
        if name == "method":
            continue
        kind, _ = field_kind(info.annotation)
        extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
        unit = f" [{extra['unit']}]" if extra.get("unit") else ""
        choices = getattr(kind, "__args__", ()) if str(kind).startswith("typing.Literal") else ()
        listed = f" One of: {', '.join(map(str, choices))}." if choices else ""
        text = f"{info.description or info.title or name}{listed}{unit}".replace("%", "%%")
        if kind is bool:
            group.add_argument(
                option_name(name), dest=f"field_{name}", action=argparse.BooleanOptionalAction,
                default=argparse.SUPPRESS, help=f"{text} (default: {to_text(info.default)})",
            )  # fmt: skip
        else:
            group.add_argument(
                option_name(name), dest=f"field_{name}", metavar=_metavar(kind), default=argparse.SUPPRESS,
                help=f"{text} (default: {to_text(info.default)})",
            )  # fmt: skip


def _metavar(kind: Any) -> str:
    if kind in (int, float):
        return "N" if kind is int else "X"
    return {"tuple": "A,B,..", "Literal": "WORD"}.get(getattr(kind, "__name__", "") or "", "VALUE").upper()


def _add_reading(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what the input file does not say")
    none: dict[str, Any] = {"default": argparse.SUPPRESS}
    group.add_argument("--input-angles", metavar="A,B,..|FIRST:LAST:STEP|FILE", help="tilt angles in degrees", **none)
    group.add_argument("--input-pixel-size", metavar="NM", type=float, help="pixel size in nm", **none)
    group.add_argument("--input-contrast", choices=("adf", "bf", "phase"), help="image contrast", **none)
    group.add_argument(
        "--input-axis-degrees", metavar="X", type=float, help="angle of the tilt axis from the rows' direction", **none
    )


def _add_running(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("running")
    group.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute")
    group.add_argument("--report", metavar="FILE", type=Path, help="write seconds, memory and figures as JSON")
    group.add_argument("--recipe", metavar="FILE", type=Path, help="write what was done, for 'splatom run'")
    group.add_argument("--checkpoint", metavar="DIR", type=Path, help="write checkpoints into this folder")
    group.add_argument("--checkpoint-every", metavar="SECONDS", type=float, default=60.0, help="time between them")
    group.add_argument("--resume", action="store_true", help="go on from the newest checkpoint")
    group.add_argument("--seed", type=int, default=0, help="seed of all random numbers")
    group.add_argument("--quiet", action="store_true", help="print nothing but errors")


def _parser() -> _Parser:
    parser = _Parser(prog="splatom", description="Electron tomography, from a raw tilt series to a volume.")
    parser.add_argument("--version", action="version", version=f"splatom {splatom.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    sub = commands.add_parser("methods", help="every method")
    sub.add_argument("--json", action="store_true", help="print JSON")
    sub = commands.add_parser("info", help="what a file holds")
    sub.add_argument("file", type=Path)
    sub.add_argument("--json", action="store_true", help="print JSON")
    sub = commands.add_parser("convert", help="write a file in another format")
    sub.add_argument("input", type=Path)
    sub.add_argument("output", type=Path)
    sub.add_argument("--quiet", action="store_true", help="print nothing but errors")
    _add_reading(sub)

    from splatom.simulate import SPECIMENS, SimulateParams

    sub = commands.add_parser("simulate", help="a tilt series of a known specimen")
    sub.add_argument("specimen", choices=tuple(SPECIMENS), metavar="SPECIMEN", help=", ".join(SPECIMENS))
    sub.add_argument("output", type=Path)
    sub.add_argument("--truth", metavar="FILE", type=Path, help="write the specimen itself: a volume, or atoms (.xyz)")
    sub.add_argument("--seed", type=int, default=0, help="seed of specimen and noise")
    sub.add_argument("--quiet", action="store_true", help="print nothing but errors")
    _add_fields(sub, SimulateParams)

    for group in GROUPS:
        of_group = [m for (g, _), m in find().items() if g == group]
        sub = commands.add_parser(group, help=f"methods: {', '.join(m.name for m in of_group) or 'none yet'}")
        names = sub.add_subparsers(dest="method", metavar="METHOD", required=True)
        for method in of_group:
            one = names.add_parser(method.name, help=method.summary, description=f"{method.summary}.")
            one.add_argument("input", type=Path)
            one.add_argument("output", type=Path)
            _add_fields(one, method.params)
            _add_reading(one)
            _add_running(one)

    _cli_calibrate.add_parser(commands)
    sub = commands.add_parser("evaluate", help="compare a result with a reference")
    sub.add_argument("result", type=Path)
    sub.add_argument("reference", type=Path)
    sub.add_argument("--json", action="store_true", help="print JSON")
    sub = commands.add_parser("run", help="replay a recipe")
    sub.add_argument("recipe_file", metavar="RECIPE.yaml", type=Path)
    sub.add_argument("input", nargs="?", type=Path)
    sub.add_argument("output", nargs="?", type=Path)
    _add_running(sub)
    add_train(commands, _add_fields)
    sub = commands.add_parser("demo", help="napari with a sample series and a running reconstruction")
    sub.add_argument("--output", metavar="DIR", type=Path, help="leave screenshot.png and volume.mrc there, and close")
    sub.add_argument("--show", action="store_true", help="keep the window open afterwards")
    return parser


# -------------------------------------------------------------------- commands
def _methods(args: argparse.Namespace) -> None:
    listed = [
        {"group": m.group, "name": m.name, "summary": m.summary, "params": m.defaults} for m in find().values()
    ]
    if args.json:
        print(json.dumps(listed, indent=1))
        return
    for group in GROUPS:
        for entry in listed:
            if entry["group"] == group:
                print(f"{group:12} {entry['name']:16} {entry['summary']}")


def _info(args: argparse.Namespace) -> None:
    from splatom.io import describe

    found = describe(args.file)
    if args.json:
        print(json.dumps(found, indent=1))
        return
    angles = found.get("angles")
    if angles:
        flat = [a if isinstance(a, int | float) else a[1] for a in angles]
        found["angles"] = f"{len(flat)} from {min(flat):g} to {max(flat):g} degrees"
    elif found.get("kind") == "series":
        found["angles"] = "not found: give them with --input-angles"
    if found.get("pixel_size"):
        found["pixel_size"] = f"{found['pixel_size']:.6g} nm"
    for key, value in found.items():
        if isinstance(value, dict):
            value = "; ".join(f"{k}: {v}" for k, v in value.items())
        print(f"{key:12} {value}")


def _given(args: argparse.Namespace) -> dict[str, Any]:
    """Collect what the user says about the input file."""
    from splatom.simulate import parse_angles

    given = {k: getattr(args, f"input_{k}", None) for k in ("angles", "pixel_size", "contrast", "axis_degrees")}
    text = given["angles"]
    if text is not None and not Path(text).exists() and text != "names":
        given["angles"] = list(parse_angles(text))
    return given


def _check_place(*paths: Path | None) -> None:
    """Say before the work that its result could not be written."""
    for path in paths:
        if path is not None and not path.absolute().parent.is_dir():
            raise _Fault(f"{path}: the folder {path.absolute().parent} does not exist")


def _convert(args: argparse.Namespace) -> None:
    from splatom.io import write
    from splatom.recipe import load_input

    _check_place(args.output)
    write(args.output, load_input(args.input, None, _given(args)))


def _simulate(args: argparse.Namespace) -> None:
    from splatom.data import Atoms
    from splatom.io import write
    from splatom.simulate import SimulateParams, simulate

    _check_place(args.output, args.truth)
    params = _params(SimulateParams, args)
    series, truth = simulate(args.specimen, seed=args.seed, **params.model_dump(exclude={"method"}))
    write(args.output, series)
    if args.truth is not None:
        if isinstance(truth, Atoms) and args.truth.suffix != ".xyz":
            raise _Fault(f"{args.truth}: the truth of '{args.specimen}' is atoms; give a file ending in .xyz")
        write(args.truth, truth)


def _params(model: type[MethodParams], args: argparse.Namespace) -> Any:
    """Make the parameters from the options given; a fault is wrong usage."""
    fields = {}
    for name, info in model.model_fields.items():
        value = getattr(args, f"field_{name}", None)
        if value is not None:
            fields[name] = from_text(info.annotation, value) if isinstance(value, str) else value
    try:
        return model(**fields)
    except ValidationError as exc:
        sys.stderr.write(f"splatom: error: {fault_text(exc)}\n")
        raise SystemExit(2) from exc


def _run_method(method: Method, args: argparse.Namespace) -> int:
    from splatom.operators import choose_device
    from splatom.recipe import Recipe, load_input

    params = _params(method.params, args)
    if args.resume and args.checkpoint is None:
        sys.stderr.write("splatom: error: --resume needs --checkpoint DIR\n")
        raise SystemExit(2)
    _check_place(args.output, args.report, args.recipe)
    kind = "series" if method.group in ("prepare", "interpolate", "reconstruct") else None
    data = load_input(args.input, kind, _given(args))
    if method.group == "denoise" and not isinstance(data, TiltSeries):
        raise _Fault(f"{args.input}: holds no tilt series and no image, and only these are denoised")
    task = Task(
        method.group, method.name, params, data, choose_device(args.device), args.seed,
        None if args.checkpoint is None else str(args.checkpoint), args.checkpoint_every, args.resume,
    )  # fmt: skip
    job = _made(task)
    _announce_plan(job, args)
    if args.resume and not any(args.checkpoint.glob("step-*.safetensors")):
        _say(args, f"no checkpoint in {args.checkpoint}: starting afresh")
    with _interruptible(job), _progress(job, f"{method.group} {method.name}", args.quiet):
        outcome = perform(task, job)
    if outcome.result is not None:
        _finish(args, outcome, task.device, method.group, method.name, job.params)
        if args.recipe is not None:
            done = outcome.result.provenance.steps[-1:]
            Recipe(str(args.input), done, data.provenance.loading.get("given", {}), str(args.output)).save(args.recipe)
    return _status(outcome)


def _replay(args: argparse.Namespace) -> int:
    from splatom.operators import choose_device
    from splatom.recipe import Recipe, load_input

    if args.input is not None and args.output is None:
        sys.stderr.write("splatom: error: give both IN and OUT, or neither\n")
        raise SystemExit(2)
    recipe = Recipe.load(args.recipe_file)
    target = args.output or (Path(recipe.output) if recipe.output else None)
    if target is None or not (args.input or recipe.input):
        raise _Fault(f"{args.recipe_file}: names no input or output; give them: splatom run RECIPE.yaml IN OUT")
    _check_place(target, args.report)
    data = load_input(args.input or recipe.input, None, recipe.given)
    with contextlib.ExitStack() as stack:

        def watch(step: Any, job: Job[Any]) -> None:
            stack.close()  # the bar of the step before
            stack.enter_context(_interruptible(job))
            stack.enter_context(_progress(job, f"{step.group} {step.method}", args.quiet))

        _, outcome = recipe.replay(data, device=args.device, watch=watch)
    args.output = target
    last = recipe.steps[-1]
    _finish(args, outcome, choose_device(args.device), last.group, last.method, None)
    return 0 if recipe.steps[-1].stopped is not None else _status(outcome)


def _train(args: argparse.Namespace) -> None:
    from splatom.training.run import TrainParams

    params = _params(TrainParams, args)
    if args.resume and args.checkpoint is None:
        sys.stderr.write("splatom: error: --resume needs --checkpoint DIR\n")
        raise SystemExit(2)
    _check_place(args.output)
    run_train(args, params)


def _announce_plan(job: Job[Any], args: argparse.Namespace) -> None:
    """Print what a method plans when it says so, not when it is over."""
    note = job.note

    def announcing(**decisions: Any) -> None:
        note(**decisions)
        if "plan" in decisions:
            _say(args, f"{decisions['plan']}")

    job.note = announcing  # type: ignore[method-assign]


def _made(task: Task) -> Job[Any]:
    job = prepared(task)
    if isinstance(job, JobError):
        raise job
    return job


def _finish(
    args: argparse.Namespace, outcome: Outcome, device: str, group: str, name: str, params: MethodParams | None
) -> None:
    """Write the result and the report, and say the figures."""
    from splatom.io import write

    write(args.output, outcome.result)
    figures = {k: v for k, v in outcome.figures.items() if k != "r_per_tilt"}
    if args.report is not None:
        report = {
            "group": group, "method": name, "params": None if params is None else params.model_dump(mode="json"),
            "status": outcome.status, "device": device, "seconds": round(outcome.seconds, 3),
            "peak_memory_mb": _peak_memory_mb(), "version": splatom.__version__, "decisions": outcome.notes,
            "events": outcome.events, **outcome.figures,
        }  # fmt: skip
        args.report.write_text(json.dumps(report, indent=1, default=str), encoding="utf-8")
    shown = ", ".join(f"{k} {v:.4g}" for k, v in figures.items() if isinstance(v, int | float))
    stopped = " (stopped; what there was is written)" if outcome.status == "stopped" else ""
    _say(args, f"{args.output}: {outcome.seconds:.1f} s{', ' + shown if shown else ''}{stopped}")
    for key, value in outcome.notes.items():
        _say(args, f"  {key}: {value}")


def _status(outcome: Outcome) -> int:
    if outcome.error is not None:
        raise outcome.error
    return _INTERRUPTED if outcome.status == "stopped" else 0


def _evaluate(args: argparse.Namespace) -> None:
    from splatom.evaluate import evaluate
    from splatom.io import read

    found = evaluate(read(args.result), read(args.reference))
    if args.json:
        print(json.dumps(found, indent=1))
        return
    for key, value in found.items():
        print(f"{key:16} {value:.6g}" if isinstance(value, float) else f"{key:16} {value}")


def _demo(args: argparse.Namespace) -> int:
    try:
        run_demo = import_module("splatom.plugin.demo").run_demo
    except ImportError as exc:
        raise _Fault(f'the demo needs napari and a Qt binding: pip install "splatom[all]" ({exc})') from exc
    return int(run_demo(args.output, args.show or args.output is None))


# -------------------------------------------------------------------- a person at a terminal
def _say(args: argparse.Namespace, text: str) -> None:
    if not args.quiet:
        sys.stderr.write(text + "\n")


@contextlib.contextmanager
def _interruptible(job: Job[Any]) -> Iterator[None]:
    """Make the first Ctrl-C stop the job and keep what there is; the second ends the program."""

    def stop(*_: object) -> None:
        if job.stop_requested:
            raise KeyboardInterrupt
        sys.stderr.write("\nstopping; press Ctrl-C again to give up\n")
        job.stop()

    try:
        before = signal.signal(signal.SIGINT, stop)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def _progress(job: Job[Any], title: str, quiet: bool) -> Iterator[None]:
    """Draw a bar on a terminal; nothing in a pipe."""
    if quiet or not sys.stderr.isatty():
        yield
        return
    from threading import Event, Thread

    ended = Event()

    def draw() -> None:
        while not ended.wait(0.2):
            done, total = job.step, max(job.total, 1)
            filled = int(30 * min(done / total, 1))
            left = job.seconds / done * (total - done) if done else 0
            eta = f"{left:4.0f} s left" if done else "starting"
            r = f"  R {job.figures['r']:.4f}" if "r" in job.figures else ""
            sys.stderr.write(f"\r{title} [{'#' * filled}{'.' * (30 - filled)}] {done}/{total}{r}  {eta}   ")
            sys.stderr.flush()

    painter = Thread(target=draw, daemon=True)
    painter.start()
    try:
        yield
    finally:
        ended.set()
        painter.join()
        sys.stderr.write("\r\033[K")


def _peak_memory_mb() -> float:
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        return round(float(getattr(psutil.Process().memory_info(), "peak_wset", 0)) / 2**20, 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    # Threads that spin while they wait make two busy processes crawl; it counts only before torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    args = _parser().parse_args(_join_numbers(sys.argv[1:] if argv is None else argv))
    began = time.monotonic()
    simple = {"methods": _methods, "info": _info, "convert": _convert, "simulate": _simulate, "evaluate": _evaluate,
              "train": _train, "calibrate": _cli_calibrate.run}  # fmt: skip
    try:
        if args.command in simple:
            simple[args.command](args)
            return 0
        if args.command == "run":
            return _replay(args)
        if args.command == "demo":
            return _demo(args)
        return _run_method(find()[args.command, args.method], args)
    except KeyboardInterrupt:
        sys.stderr.write(f"\nsplatom: interrupted after {time.monotonic() - began:.0f} s\n")
        return _INTERRUPTED
    except BrokenPipeError:  # the reader of our output has had enough, `head` say
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (JobError, _Fault, ValueError, OSError, MemoryError, ImportError) as exc:
        text = str(exc).strip() or type(exc).__name__
        sys.stderr.write(f"splatom: error: {text.splitlines()[0]}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
