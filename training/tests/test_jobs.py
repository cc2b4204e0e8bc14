"""Several trainings at once: the same networks, in an order that can be, and what happens when one fails or all are stopped."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from argparse import Namespace

import pytest
import torch

from umbra_train import jobs, train
from umbra_train.__main__ import main

from test_training import SMALL


def note(options):
    """Stands for a training: says in a file of its own when it began and ended; not before another began, where it is told so."""
    began = time.time()
    (options.folder / f"{options.name}.began").touch()
    print("hello")
    while options.beside and not (options.folder / f"{options.beside}.began").exists():
        assert time.time() < began + 60
        time.sleep(0.01)
    if options.fails == "raises":
        raise RuntimeError("out of memory")
    if options.fails:
        return 3
    time.sleep(0.2)
    (options.folder / options.name).write_text(f"{began} {time.time()} {options.threads}")
    return 0


def job(folder, name, *needs, fails=False, beside=None):
    return jobs.Job(name, Namespace(folder=folder, name=name, fails=fails, beside=beside, threads=None), folder / "out" / f"{name}.txt", frozenset(needs))


def test_jobs_wait_for_what_they_need_and_no_more_run_than_allowed(tmp_path):
    jobs.run([job(tmp_path, "d", "b"), job(tmp_path, "a", beside="b"), job(tmp_path, "b", beside="a"), job(tmp_path, "c")], 2, note)
    times = {name: [float(x) for x in (tmp_path / name).read_text().split()[:2]] for name in "abcd"}
    assert times["d"][0] >= times["b"][1]
    for began, _ in times.values():
        assert sum(start <= began < end for start, end in times.values()) <= 2
    assert (tmp_path / "out" / "a.txt").read_text() == "hello\n"


def test_a_failure_leaves_out_what_needs_it_and_is_named(tmp_path):
    with pytest.raises(train.TrainingError, match=r"a: exit status 3, see .*a\.txt; b: needs a; c: needs b"):
        jobs.run([job(tmp_path, "a", fails=True), job(tmp_path, "c", "b"), job(tmp_path, "b", "a"), job(tmp_path, "d")], 2, note)
    assert {path.name for path in tmp_path.iterdir()} == {"out", "d", "a.began", "d.began"}


def test_what_nobody_expected_is_in_the_output(tmp_path):
    with pytest.raises(train.TrainingError, match="a: exit status 1"):
        jobs.run([job(tmp_path, "a", fails="raises")], 2, note)
    assert "RuntimeError: out of memory" in (tmp_path / "out" / "a.txt").read_text()


def stay(options):
    (options.folder / options.name).write_text(str(os.getpid()))
    time.sleep(60)
    return 0


def test_jobs_end_with_a_parent_that_was_killed(tmp_path):
    parent = multiprocessing.get_context("fork").Process(target=jobs.run, args=([job(tmp_path, "a"), job(tmp_path, "b")], 2, stay))
    parent.start()
    deadline = time.monotonic() + 60
    while not all((tmp_path / name).exists() and (tmp_path / name).read_text() for name in "ab"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(parent.pid, signal.SIGKILL)
    parent.join()
    while any(alive(int((tmp_path / name).read_text())) for name in "ab"):
        assert time.monotonic() < deadline, "a job outlives its parent"
        time.sleep(0.05)


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_stopping_stops_all(tmp_path, monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(jobs.multiprocessing.connection, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        jobs.run([job(tmp_path, "a"), job(tmp_path, "b")], 2, note)
    assert not multiprocessing.active_children() and not (tmp_path / "a").exists()


def test_seeds_at_once_are_the_seeds_one_by_one(data_root, tmp_path):
    arguments = ["train", "--data", str(data_root), "--device", "cpu", "--threads", "1", "--limit", "100", "--seed", "1", "2"]
    for change in [*SMALL, "training.epochs=1"]:
        arguments += ["--set", change]
    threads = torch.get_num_threads()
    assert main([*arguments, "--out", str(tmp_path / "one")]) == 0
    torch.set_num_threads(threads)
    assert main([*arguments, "--out", str(tmp_path / "two"), "--jobs", "2"]) == 0
    one, two = ([train.load(tmp_path / way / seed / "checkpoint.pt")["network"] for seed in ("seed1", "seed2")] for way in ("one", "two"))
    for a, b in zip(one, two):
        assert all(torch.equal(a[name], b[name]) for name in a)
    assert any(not torch.equal(one[0][name], one[1][name]) for name in one[0])
    assert '"epoch": 1' in (tmp_path / "two" / "seed2" / "output.txt").read_text()


def test_the_command_line_finds_itself_again(tmp_path):
    command = [sys.executable, "-m", "umbra_train", "train", "--data", str(tmp_path), "--out", str(tmp_path / "o"), "--seed", "1", "2", "--jobs", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1 and "seed1: exit status 1" in done.stderr, done.stderr
    assert (tmp_path / "o" / "seed2" / "output.txt").read_text().startswith("error: ")


@pytest.mark.parametrize("count", ["0", "-1", "x"])
def test_a_count_of_jobs_is_positive(count, capsys):
    with pytest.raises(SystemExit):
        main(["zoo", "--jobs", count])
    assert "--jobs" in capsys.readouterr().err
