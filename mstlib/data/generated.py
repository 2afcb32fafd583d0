"""Generated data on disk: made once, whole or not at all, by several processes.

What MiniVID and MiniUAV share. Needs no torch: a generating process starts at once. Not part of the
paper.
"""

import contextlib
import hashlib
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TypeVar

from mstlib.config import MSTError

STALE = 600  # seconds without a write after which a half-made folder counts as abandoned
T = TypeVar("T")


def cache_folder(name: str, facts: dict, root: Path | None = None) -> Path:
    """The folder of a data set (root: MST_DATA, else ~/.cache/mstlib); its name changes with the
    facts that decide its bytes."""
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:8]
    root = root or os.environ.get("MST_DATA") or Path.home() / ".cache" / "mstlib"
    return Path(root).expanduser() / f"{name}-{digest}"


def made_once(folder: Path, what: str, make: Callable[[Path], None]) -> Path:
    """`folder`, made first if absent: `make` fills a temporary one beside it, which is renamed.

    Several processes may call this at once: each makes its own copy and the first to finish is
    kept. MSTError if it cannot be written; what: its name, for that.
    """
    try:
        if not folder.is_dir():
            folder.parent.mkdir(parents=True, exist_ok=True)
            _sweep(folder)
            _make(folder, make)
    except OSError as error:
        raise MSTError(f"cannot write {what} to {folder}: {error.strerror or error}; "
                       "set MST_DATA to a folder with room") from error
    return folder


def _make(folder: Path, make: Callable[[Path], None]) -> None:
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        temporary.chmod(0o755)  # mkdtemp's 700 would lock out others who share the cache
        make(temporary)
        with contextlib.suppress(OSError):  # another process was first; its bytes are the same
            temporary.rename(folder)
        if not folder.is_dir():
            raise OSError(f"could not rename {temporary}")
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """Remove half-made folders nobody has written to for a while: killed generations."""
    for left in folder.parent.glob(f".{folder.name}-*"):
        with contextlib.suppress(OSError):  # another process may be sweeping too
            newest = max(path.stat().st_mtime for path in (left, *left.rglob("*")))
            if time.time() - newest > STALE:
                shutil.rmtree(left)


# ---- several processes ---------------------------------------------------------------------------


def default_workers() -> int:
    """One process for each core this process may use, at most eight."""
    known = hasattr(os, "sched_getaffinity")
    return min(8, len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1)


def in_processes(function: Callable[..., T], jobs: Sequence[tuple], workers: int, what: str
                 ) -> Iterator[T]:
    """What `function` returns for each job, its arguments, as it comes; MSTError if a process ends
    early. The processes end with the caller, however that ends."""
    workers = min(workers, len(jobs))
    if workers <= 1 or multiprocessing.current_process().daemon:
        yield from (function(*job) for job in jobs)
        return
    processes, pipes, done = [], [], 0
    try:
        for w in range(workers):
            process, pipe = _start(function, jobs[w::workers])
            processes.append(process)
            pipes.append(pipe)
        for result in _receive(pipes):
            yield result
            done += 1
    finally:  # also when the caller was interrupted
        for process in processes:
            process.terminate()
            process.join()
    if done < len(jobs):
        raise MSTError(f"{what}: a generating process ended early; run again, with workers=1 if "
                       "memory is short")


def _start(function: Callable[..., T], jobs: Sequence[tuple]
           ) -> tuple[multiprocessing.Process, Connection]:
    """A process that does `jobs`, and the pipe its results come through."""
    # A forked worker needs no guard in the caller's script; other systems cannot fork safely.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=_do_share, args=(function, jobs, send, receive), daemon=True)
    process.start()
    send.close()  # the worker's end is the only one left: its death ends the pipe
    return process, receive


def _do_share(function: Callable[..., T], jobs: Sequence[tuple], send: Connection,
              receive: Connection) -> None:
    """A worker: does its jobs one after the other; ends when nobody listens any more."""
    receive.close()  # else the pipe would outlive the parent
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        for job in jobs:
            send.send(function(*job))


def _receive(pipes: list[Connection]) -> Iterator:
    """What the workers send, until all have ended."""
    while pipes:
        for pipe in wait(pipes):
            try:
                yield pipe.recv()
            except EOFError:
                pipes.remove(pipe)
