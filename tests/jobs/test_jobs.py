"""Jobs stop, pause, take changes, keep what they have, and tell what went wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from splatom.data import Volume
from splatom.jobs import (
    Job,
    JobError,
    Mailbox,
    ProcessExecutor,
    RunningJob,
    Snapshot,
    Task,
    ThreadExecutor,
    explain,
    fingerprint,
)

sys.path.insert(0, str(Path(__file__).parent))
from _runners import CountParams, count

ZEROS = Volume(np.zeros((4, 4, 4), np.float32))


@pytest.fixture(scope="module")
def process_executor() -> Iterator[ProcessExecutor]:
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(__file__).parent), before]))
    executor = ProcessExecutor()
    yield executor
    executor.close()
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


@pytest.fixture(params=["thread", "process"])
def executor(request, process_executor) -> ThreadExecutor | ProcessExecutor:
    return ThreadExecutor() if request.param == "thread" else process_executor


def task(runner: str = "count", **params) -> Task:
    return Task("test", "count", CountParams(**params), ZEROS, runner=f"_runners:{runner}")


def first_snapshot(run: RunningJob, seconds: float = 60) -> Snapshot:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        snapshot = run.take()
        if snapshot is not None:
            return snapshot
        time.sleep(0.01)
    raise AssertionError("no snapshot came")


def test_a_finished_run_gives_its_result(executor) -> None:
    outcome = executor.submit(task(iterations=20)).wait(60)
    assert outcome.status == "done"
    assert (outcome.result.data == 20).all()
    assert [s for s, _ in outcome.curves["loss"]] == list(range(1, 21))


def test_what_is_handed_over_beside_the_result_arrives_with_it(executor) -> None:
    extra = executor.submit(task("beside")).wait(60).extras["doubled"]
    assert (extra.value.data == 2).all()
    assert (extra.means, extra.highest) == ("twice as much", 4.0)


def test_a_stop_keeps_the_partial_result(executor) -> None:
    run = executor.submit(task(iterations=10_000))
    seen = first_snapshot(run)
    run.stop()
    outcome = run.wait(10)
    assert outcome.status == "stopped"
    assert seen.step <= outcome.result.data[0, 0, 0] < 10_000


def test_a_stop_is_felt_inside_a_long_pass_within_half_a_second(executor) -> None:
    run = executor.submit(task("dwell"))
    first_snapshot(run)
    began = time.monotonic()
    run.stop()
    assert run.wait(5).status == "stopped"
    assert time.monotonic() - began < 0.5


def test_a_pause_holds_and_a_resume_goes_on(executor) -> None:
    run = executor.submit(task(iterations=150))
    first_snapshot(run)
    run.pause()
    time.sleep(0.3)
    run.take()
    time.sleep(0.2)
    held = run.take()
    time.sleep(0.3)
    assert run.take() is None or held is None
    assert run.status == "paused"
    run.resume()
    assert run.wait(30).status == "done"


def test_a_live_change_acts_on_the_running_method_and_is_written_down(executor) -> None:
    run = executor.submit(task(iterations=10_000))
    first_snapshot(run)
    run.change(iterations=200)
    outcome = run.wait(30)
    assert outcome.status == "done"
    assert (outcome.result.data == 200).all() or outcome.result.data[0, 0, 0] > 200
    ((at, what),) = outcome.events
    assert at >= 1
    assert what == {"change": {"iterations": 200}}


@pytest.mark.parametrize(("fields", "message"), [({"step": 2}, "cannot change"), ({"iterations": 0}, "greater than")])
def test_a_change_that_cannot_be_is_refused_at_once_and_changes_nothing(executor, fields, message) -> None:
    run = executor.submit(task(iterations=60))
    with pytest.raises(JobError, match=message):
        run.change(**fields)
    outcome = run.wait(60)
    assert (outcome.result.data == 60).all()
    assert outcome.events == ()


def test_out_of_memory_says_what_was_asked_for_and_what_to_do(executor) -> None:
    outcome = executor.submit(task("starve")).wait(60)
    assert outcome.status == "failed"
    assert "20.00 GiB" in str(outcome.error)
    assert "prepare bin" in str(outcome.error)


def test_a_crash_of_the_process_is_told_and_the_next_run_works(process_executor) -> None:
    outcome = process_executor.submit(task("die")).wait(60)
    assert outcome.status == "failed"
    assert "exit status 7" in str(outcome.error)
    assert process_executor.submit(task(iterations=3)).wait(60).status == "done"


def test_a_second_task_waits_for_the_first(process_executor) -> None:
    first, second = (process_executor.submit(task(iterations=n)) for n in (40, 3))
    assert second.wait(60).status == "done"
    assert first.wait(60).status == "done"


def test_a_mailbox_makes_no_snapshot_for_nobody() -> None:
    box, made = Mailbox(), []

    def make() -> Snapshot:
        made.append(1)
        return Snapshot("run", len(made), 9)

    assert box.offer(make)
    assert not box.offer(make)
    assert box.take().step == 1
    assert box.take() is None
    assert box.offer(make)
    assert len(made) == 2


def test_notes_are_heard_before_the_first_step_and_give_way_to_it() -> None:
    job = Job(CountParams())
    job.note(plan="some steps")
    shot = job.mailbox.take()
    assert (shot.notes, shot.total) == ({"plan": "some steps"}, 0)
    job.note(warning="beware")
    job.tick(1, 9)
    shot = job.mailbox.take()
    assert (shot.step, shot.notes) == (1, {"plan": "some steps", "warning": "beware"})
    job.note(later="at the next step")
    assert job.mailbox.take() is None


def test_a_replay_applies_changes_at_their_steps_and_stops_where_it_was_stopped() -> None:
    job = Job(CountParams(iterations=50, pause=0), replay=((5, {"change": {"iterations": 30}}),), stop_at=20)
    result = count("", "", ZEROS, job)
    assert job.stopped_at == 20
    assert (result.data == 20).all()
    assert job.params.iterations == 30
    assert job.events == [(5, {"change": {"iterations": 30}})]


def test_a_checkpoint_refuses_other_parameters_and_other_input(tmp_path) -> None:
    def job(data=ZEROS, **params):
        return Task("t", "count", CountParams(pause=0, **params), data, checkpoint=str(tmp_path), checkpoint_every=0,
                    resume=True).job()  # fmt: skip

    count("", "", ZEROS, job(iterations=5))
    resumed = job(iterations=8)  # live: may differ
    assert resumed.restore()["x"][0, 0, 0] == 5
    with pytest.raises(JobError, match="another step"):
        job(iterations=5, step=2).restore()
    with pytest.raises(JobError, match="another input"):
        job(Volume(np.ones((4, 4, 4), np.float32))).restore()


def test_a_torn_checkpoint_is_passed_over_for_the_one_before(tmp_path) -> None:
    def job():
        return Task("t", "count", CountParams(pause=0, iterations=5), ZEROS, checkpoint=str(tmp_path),
                    checkpoint_every=0, resume=True).job()  # fmt: skip

    count("", "", ZEROS, job())
    files = sorted(tmp_path.glob("*.safetensors"))
    assert len(files) == 2
    files[-1].write_bytes(files[-1].read_bytes()[:40])
    resumed = job()
    resumed.restore()
    assert resumed.step == 4


def test_a_fingerprint_sees_data_but_not_provenance() -> None:
    from splatom.data import Provenance

    assert fingerprint(ZEROS) == fingerprint(ZEROS.with_(provenance=Provenance("elsewhere")))
    assert fingerprint(ZEROS) != fingerprint(ZEROS.with_(voxel_size=2.0))
    assert fingerprint(ZEROS) != fingerprint(ZEROS.with_(data=ZEROS.data + 1))


def test_faults_are_told_in_one_line() -> None:
    assert str(explain(ValueError("first\nsecond"))) == "first"
    assert "KeyError" in str(explain(KeyError("x")))
    assert explain(error := JobError("told")) is error


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is a POSIX signal")
@pytest.mark.parametrize("method", ["sirt", "sirt --momentum", "cgls", "tv"])
def test_a_killed_run_resumes_to_the_same_bits(tmp_path, method) -> None:
    from splatom.io import read

    command = [sys.executable, "-m", "splatom"]
    subprocess.run([*command, "simulate", "ellipsoids", "in.npz", "--size", "48"], cwd=tmp_path, check=True)
    name, *options = method.split()
    run = [*command, "reconstruct", name, "in.npz"]
    more = [*options, "--iterations", "150", "--quiet"]
    subprocess.run([*run, "whole.npz", *more], cwd=tmp_path, check=True)
    checked = [*more, "--checkpoint", "c", "--checkpoint-every", "0"]
    process = subprocess.Popen([*run, "part.npz", *checked], cwd=tmp_path)
    while process.poll() is None and len(list(tmp_path.glob("c/step-*"))) < 2:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "part.npz").exists()
    subprocess.run([*run, "part.npz", *checked, "--resume"], cwd=tmp_path, check=True)
    np.testing.assert_array_equal(read(tmp_path / "part.npz").data, read(tmp_path / "whole.npz").data)
