"""The jobs that a party knows: in memory under one lock, and as one small public file each, written whole or not."""

from __future__ import annotations

import errno
import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medveil.errors import FormatError, LimitError, MedveilError, PolicyError, StoreFullError
from medveil.mpc.requests import JobRequest

_WAITING = ("queued", "running")


@dataclass
class Job:
    """A job at this party: queued, running, done, failed, or interrupted by a restart."""

    request: JobRequest
    state: str = "queued"
    error: dict[str, Any] = field(default_factory=dict)
    progress: dict[str, Any] = field(default_factory=dict)
    resume: bool = False


class Ledger:
    """A party's jobs by name.

    Raises:
        FormatError: a job's file in the folder is damaged.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder, self._limit = folder, limit
        self._changed = threading.Condition()
        self._jobs: dict[str, Job] = {}
        for path in sorted(folder.glob("*.job")):
            try:
                raw = json.loads(path.read_text("utf-8"))
                request = JobRequest.from_message(raw["request"], str(raw["owner"]))
                state = "interrupted" if raw["state"] in _WAITING else str(raw["state"])
                self._jobs[request.job] = Job(request, state, dict(raw.get("error", {})))
            except (ValueError, KeyError, TypeError, MedveilError) as e:
                raise FormatError(
                    f"{path} is not a job's description: restore it, or remove it to give the job up"
                ) from e

    def __repr__(self) -> str:
        return f"Ledger({len(self._jobs)} jobs)"

    def of(self, owner: str) -> dict[str, Job]:
        """Return a client's jobs."""
        with self._changed:
            return {name: job for name, job in self._jobs.items() if job.request.owner == owner}

    def own(self, owner: str, name: str) -> Job:
        """Return one of a client's jobs.

        Raises:
            PolicyError: there is none of that name, or it is another client's.
        """
        job = self.of(owner).get(name)
        if job is None:
            raise PolicyError("there is no such job of this client here")
        return job

    def accept(self, request: JobRequest, *, resume: bool) -> bool:
        """Queue a job, for the first time or again; returns whether it was not queued before.

        Raises:
            PolicyError: it belongs to another client, or is running.
            LimitError: the queue is full.
            StoreFullError: its description finds no space.
        """
        with self._changed:
            known = self._jobs.get(request.job)
            if known is not None and known.request.owner != request.owner:
                raise PolicyError("this job belongs to another client")
            if known is not None and known.state == "running":
                raise PolicyError("this job is running already: wait for it")
            waiting = known is not None and known.state == "queued"
            if not waiting and sum(j.state in _WAITING for j in self._jobs.values()) >= self._limit:
                raise LimitError("this server's queue is full: retry later")
            job = Job(request, resume=resume)
            self._write(job)
            self._jobs[request.job] = job
            self._changed.notify_all()
            return not waiting

    def begin(self, name: str, timeout: float, given_up: Callable[[], bool]) -> Job | None:
        """Return a queued job, now running, waiting for it to be submitted; None where it does not come in time."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                if given_up():
                    return None
                job = self._jobs.get(name)
                if job is not None and job.state == "queued":
                    job.state, job.error = "running", {}
                    return job
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                self._changed.wait(left)

    def end(self, job: Job, error: dict[str, Any] | None) -> None:
        """Record how a job ended; a disk that takes no more does not hide it from the owner."""
        with self._changed:
            job.state, job.error = ("failed", error) if error else ("done", {})
            try:
                self._write(job)
            except (OSError, StoreFullError):
                return  # after a restart it counts as interrupted, and can be resumed

    def give_up(self, name: str, error: dict[str, Any]) -> None:
        """Fail a job that another party gave up before it began here."""
        with self._changed:
            job = self._jobs.get(name)
            if job is not None and job.state == "queued":
                self.end(job, error)
            self._changed.notify_all()

    def remove(self, owner: str, name: str) -> JobRequest:
        """Forget a job that is not waiting; returns what it was.

        Raises:
            PolicyError: it is not this client's, or is queued or running.
        """
        job = self.own(owner, name)
        with self._changed:
            if job.state in _WAITING:
                raise PolicyError("this job is running: wait for it")
            self._jobs.pop(name, None)
            self._path(name).unlink(missing_ok=True)
        return job.request

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.job"

    def _write(self, job: Job) -> None:
        text = {
            "request": job.request.to_message(), "owner": job.request.owner, "state": job.state, "error": job.error,
        }  # fmt: skip
        path = self._path(job.request.job)
        partial = path.with_suffix(".partial")
        try:
            with partial.open("w", encoding="utf-8") as file:
                json.dump(text, file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except OSError as e:
            partial.unlink(missing_ok=True)
            if e.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise StoreFullError("no space is left for the job's description: free some, then retry") from e
            raise
