"""A client's three connections: requests, shares going up and results coming down. `client` gives them meaning."""

from __future__ import annotations

import concurrent.futures
import contextlib
import ssl
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from medveil.errors import MedveilError, ProtocolError
from medveil.mpc import wire
from medveil.mpc.cluster import Cluster
from medveil.mpc.shares import join, split
from medveil.mpc.shelf import Bundle, allocate, buffers, byte_count, check_entries, describe

_ANSWER_TIMEOUT = 30.0
_MAX_RESULT = 8 << 30


class Connections:
    """TLS connections to the three servers of a cluster, opened at once and again where one broke."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.bytes_sent = 0
        self._links: list[ssl.SSLSocket | None] = [None, None, None]
        self._pool = concurrent.futures.ThreadPoolExecutor(3, thread_name_prefix="mpc-client")
        self._closing: list[Callable[[], None]] = []
        try:
            self.each(self._link)
        except MedveilError:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.cluster.name})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def on_close(self, action: Callable[[], None]) -> None:
        """Run an action when the servers are closed."""
        self._closing.append(action)

    def close(self) -> None:
        """Close the connections; jobs go on."""
        for link in self._links:
            if link is not None:
                with contextlib.suppress(OSError):
                    link.close()
        self._pool.shutdown(wait=False, cancel_futures=True)
        for action in self._closing:
            action()

    def each(self, call: Callable[[int], Any]) -> list[Any]:
        """Call something for the three parties at once; raises the first failure after all have ended."""
        futures = [self._pool.submit(call, party) for party in range(3)]
        concurrent.futures.wait(futures)
        return [future.result() for future in futures]

    def _link(self, party: int) -> ssl.SSLSocket:
        link = self._links[party]
        if link is None:
            link = wire.dial(self.cluster, party, {"role": "client"})
            link.settimeout(_ANSWER_TIMEOUT)
            self._links[party] = link
        return link

    def _drop(self, party: int) -> None:
        link, self._links[party] = self._links[party], None
        if link is not None:
            with contextlib.suppress(OSError):
                link.close()

    def _ask(self, party: int, message: dict[str, Any]) -> dict[str, Any]:
        """Send a request and return its answer; a broken connection is opened anew once."""
        for last in (False, True):
            link = self._link(party)  # where it cannot be reached, the message says so
            try:
                wire.send_json(link, message)
                answer = wire.receive_json(link)
            except (OSError, ProtocolError) as e:
                self._drop(party)
                if last or isinstance(e, TimeoutError):
                    what = "closed the connection" if isinstance(e, ProtocolError) else type(e).__name__
                    raise ProtocolError(f"party {party} does not answer ({what}): see its log, then retry") from e
                continue
            if "error" in answer:
                self._drop(party)
                wire.raise_error(answer)
            return answer
        raise ProtocolError(f"party {party} does not answer")

    def upload(self, name: str, tensors: dict[str, NDArray[np.uint64]]) -> None:
        """Share ring elements and send each party its shares; the originals stay here.

        Raises:
            LimitError: larger than a server accepts.
            ProtocolError: a server is gone.
        """
        shared = {key: split(words) for key, words in tensors.items()}

        def send(party: int) -> None:
            bundle: Bundle = {key: three[party] for key, three in shared.items()}
            entries = describe(bundle)
            total = byte_count(check_entries(entries, _MAX_RESULT))
            self._ask(party, {"op": "put", "name": name, "entries": entries, "bytes": total})
            link = self._link(party)
            try:
                for view in buffers(bundle):
                    link.sendall(view)
                wire.raise_error(wire.receive_json(link))
            except OSError as e:
                self._drop(party)
                raise ProtocolError(f"party {party} closed the connection during an upload: see its log") from e
            self.bytes_sent += total

        self.each(send)

    def drop(self, name: str) -> None:
        """Remove an upload that no job reads; nothing happens where it is gone already."""
        self.each(lambda party: self._ask(party, {"op": "drop", "name": name}))

    def download(self, job: str, name: str) -> dict[str, NDArray[Any]]:
        """Return the opened words of one of the caller's results; all three servers' shares must agree."""

        def fetch(party: int) -> Bundle:
            answer = self._ask(party, {"op": "get", "job": job, "name": name})
            entries = check_entries(answer.get("entries"), _MAX_RESULT)
            bundle = allocate(entries)
            for view in buffers(bundle):
                wire.receive_exactly(self._link(party), view)
            return bundle

        bundles = self.each(fetch)
        if not (bundles[0].keys() == bundles[1].keys() == bundles[2].keys()):
            raise ProtocolError("the servers answered with different results: one of them is wrong")
        return {key: join((bundles[0][key], bundles[1][key], bundles[2][key])) for key in bundles[0]}
