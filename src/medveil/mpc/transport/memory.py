"""Three parties in three threads of one process, for tests and for programs that simulate all parties."""

from __future__ import annotations

import queue

from medveil.errors import ProtocolError
from medveil.mpc.transport.frames import LinkModel, Transport


class MemoryTransport(Transport):
    """Messages through queues of this process."""

    def __init__(
        self,
        party: int,
        queues: dict[tuple[int, int], queue.Queue[tuple[bytes, bytes]]],
        patience: float,
        link: LinkModel | None,
    ) -> None:
        super().__init__(party, link)
        self._queues = queues
        self._patience = patience
        self._payload: dict[int, bytes] = {}

    def _put(self, to: int, header: bytes, payload: memoryview) -> None:
        self._queues[self.party, to].put((header, bytes(payload)))

    def _take_header(self, sender: int) -> bytes:
        try:
            header, self._payload[sender] = self._queues[sender, self.party].get(timeout=self._patience)
        except queue.Empty:
            raise ProtocolError(f"party {sender} sent nothing for {self._patience:g} s") from None
        return header

    def _take(self, sender: int, target: memoryview) -> None:
        target[:] = self._payload.pop(sender)

    def close(self) -> None:
        """Forget what was not read."""
        self._payload.clear()


def connect_memory(patience: float = 20.0, link: tuple[float, float] | None = None) -> list[MemoryTransport]:
    """Return the transports of three parties; `link` is (latency in s, bandwidth in B/s) of a simulated wire."""
    queues: dict[tuple[int, int], queue.Queue[tuple[bytes, bytes]]] = {
        (a, b): queue.Queue() for a in range(3) for b in range(3) if a != b
    }
    return [MemoryTransport(p, queues, patience, LinkModel(*link) if link else None) for p in range(3)]
