"""Several trainings at once, each in a process of its own: networks as small as these leave most of a GPU idle."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import threading
import traceback
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from .train import TrainingError


@dataclass(frozen=True)
class Job:
    """The command `options` for one network. `output` receives what it prints; `needs` names the jobs that must have ended well before."""

    name: str
    options: Namespace
    output: Path
    needs: frozenset[str] = frozenset()


def run(jobs: list[Job], at_once: int, command: Callable[[Namespace], int]) -> None:
    """Runs `command` (-> exit status) on all, first come first served of those whose needs are met. Where one fails, those that need it are left
    out and the others go on; then a TrainingError names it. Stopping this process stops them: each resumes from its checkpoint."""
    threads = max(1, (os.cpu_count() or 1) // min(at_once, len(jobs)))
    spawn = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
    waiting, running, failed = list(jobs), {}, {}
    with tqdm(total=len(jobs), desc="networks", disable=None) as bar:
        try:
            while waiting or running:
                unfinished = {job.name for job in waiting} | {job.name for job in running.values()}
                for job in [job for job in waiting if not job.needs & unfinished]:
                    if job.needs & failed.keys():
                        failed[job.name] = f"needs {', '.join(sorted(job.needs & failed.keys()))}"
                    elif len(running) < at_once:
                        options = Namespace(**{**vars(job.options), "threads": job.options.threads or threads})
                        process = spawn.Process(target=_quietly, args=(command, options, job.output), name=job.name, daemon=True)
                        process.start()
                        running[process] = job
                        tqdm.write(f"{job.name}: started; what it prints goes to {job.output}")
                    else:
                        continue
                    waiting.remove(job)
                if running:
                    multiprocessing.connection.wait([process.sentinel for process in running])
                for process in [process for process in running if process.exitcode is not None]:
                    job = running.pop(process)
                    if process.exitcode:
                        failed[job.name] = f"exit status {process.exitcode}, see {job.output}"
                    tqdm.write(f"{job.name}: {failed.get(job.name, 'done')}")
                    bar.update()
        finally:
            for process in running:
                process.terminate()
            for process in running:
                process.join()
    if failed:
        raise TrainingError("; ".join(f"{name}: {why}" for name, why in failed.items()) + ". The same command goes on with what is left")


def _quietly(command: Callable[[Namespace], int], options: Namespace, output: Path) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    output.parent.mkdir(parents=True, exist_ok=True)
    with open(output, "a", buffering=1) as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        try:
            status = command(options)
        except Exception:
            traceback.print_exc()
            status = 1
    raise SystemExit(status)


def _end_with_parent() -> None:
    """However it was stopped: on its own, this process would go on and write the checkpoints that the next attempt resumes from."""
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)
