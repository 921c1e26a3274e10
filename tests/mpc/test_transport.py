"""Frames, counters, a simulated link, and what a connection does when the other side is slow, silent or gone."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from medveil.errors import ProtocolError
from medveil.mpc.transport import frames, tcp
from medveil.mpc.transport.frames import DATA, HEADER, HEARTBEAT, MAGIC, LinkModel
from medveil.mpc.transport.memory import connect_memory
from medveil.mpc.transport.tcp import TcpTransport


@pytest.fixture
def pair() -> Iterator[tuple[TcpTransport, TcpTransport, socket.socket]]:
    """Parties 0 and 1 over sockets, and the socket that party 1 hears party 0 on, from party 0's side."""
    here, there = socket.socketpair()
    back, forth = socket.socketpair()
    first = TcpTransport(0, {1: here}, {1: back}, patience=0.6)
    second = TcpTransport(1, {0: forth}, {0: there}, patience=0.6)
    yield first, second, here
    first.close()
    second.close()


def test_words_of_any_size_arrive_whole_and_are_counted(pair) -> None:
    first, second, _ = pair
    sent = [np.arange(n, dtype=d) for n, d in ((1, np.uint64), (5, np.uint32), (300_000, np.uint64), (0, np.uint64))]
    for words in sent:
        first.send(1, words)
    for words in sent:
        assert np.array_equal(second.receive(0, words.shape, words.dtype), words)
    assert first.traffic.bytes_sent == first.traffic.sent_to[1] == sum(w.nbytes for w in sent)
    assert (first.traffic.messages, second.traffic.bytes_sent) == (4, 0)


def test_rounds_are_the_longest_chain_of_messages(pair) -> None:
    first, second, _ = pair
    word = np.zeros(1, np.uint64)
    for _ in range(3):  # side by side: one round
        first.send(1, word)
    for _ in range(3):
        second.receive(0, 1)
    assert second.traffic.rounds == 1
    second.send(0, word)
    first.receive(1, 1)
    assert first.traffic.rounds == 2
    for one in (first, second):
        one.reset()
    first.send(1, word)
    second.receive(0, 1)
    assert (second.traffic.rounds, first.traffic.messages) == (1, 1)


def test_a_silent_party_and_a_stalled_one_are_told_apart(pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Heartbeats keep a computing party alive; one that lives and never sends is given up later."""
    first, second, _ = pair
    monkeypatch.setattr(tcp, "_HEARTBEAT_EVERY", 0.1)
    first.send(1, np.zeros(1, np.uint64))  # the sender's present wait still has the old interval
    second.receive(0, 1)
    monkeypatch.setattr(tcp, "STALL", 0.0)
    time.sleep(0.3)
    with pytest.raises(ProtocolError, match="alive but has sent nothing"):
        second.receive(0, 1)


def test_a_silent_party_is_given_up() -> None:
    here, there = socket.socketpair()
    back, forth = socket.socketpair()
    alone = TcpTransport(1, {0: forth}, {0: there}, patience=0.2)
    try:
        with pytest.raises(ProtocolError, match=r"silent for 0\.2 s"):
            alone.receive(0, 1)
        here.close()
        with pytest.raises(ProtocolError, match="stopped or crashed"):
            alone.receive(0, 1)
    finally:
        alone.close()
        back.close()


def test_a_party_that_computes_while_much_is_sent_to_it_is_waited_for(pair) -> None:
    first, second, _ = pair
    words = np.arange(1_000_000, dtype=np.uint64)  # more than the buffers between hold
    first.send(1, words)
    time.sleep(0.9)  # longer than the patience
    assert np.array_equal(second.receive(0, words.shape), words)
    first.send(1, words[:3])
    assert np.array_equal(second.receive(0, 3), words[:3])


def test_a_broken_connection_is_named_when_sending(pair) -> None:
    first, second, _ = pair
    second.close()

    def send_on() -> None:
        for _ in range(200):
            first.send(1, np.zeros(100_000, np.uint64))
            time.sleep(0.005)

    with pytest.raises(ProtocolError, match="broke"):
        send_on()


def test_an_abort_says_why(pair) -> None:
    first, second, _ = pair
    del first._next_out[2]  # there are two here
    first.abort("the disk is full: " + "x" * 2000)
    with pytest.raises(ProtocolError, match="party 0 gave up: the disk is full") as error:
        second.receive(0, 7)
    assert len(str(error.value)) < 600


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (HEADER.pack(b"HTTP", DATA, 1, 0, 0.0, 8), "not a frame"),
        (HEADER.pack(MAGIC, 77, 1, 0, 0.0, 8), "not a frame"),
        (HEADER.pack(MAGIC, DATA, 1, 0, 0.0, 1 << 60), "bytes where 8 were due"),
        (HEADER.pack(MAGIC, DATA, 1, 3, 0.0, 8), "message 3 where 0 was due"),
        (HEADER.pack(MAGIC, 2, 1, 0, 0.0, 1 << 30), "oversized notice"),
        (HEADER.pack(MAGIC, HEARTBEAT, 0, 0, 0.0, 0) + b"\0" * HEADER.size, "not a frame"),
    ],
)
def test_what_is_no_frame_is_refused(pair, header: bytes, said: str) -> None:
    _, second, wire = pair
    wire.sendall(header + bytes(8))
    with pytest.raises(ProtocolError, match=said):
        second.receive(0, 1)


def test_a_simulated_link_delays_by_latency_and_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(frames.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(frames.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    link = LinkModel(latency=0.05, bandwidth=1000.0)
    link.wait(1, 100.0, 500)  # half a second on the wire, then the way
    assert now[0] == pytest.approx(100.55)
    link.wait(1, 100.0, 500)  # sent at the same time: queues behind the first
    assert now[0] == pytest.approx(101.05)
    link.wait(2, 100.0, 500)  # another sender's wire is free
    assert now[0] == pytest.approx(101.05)
    link.wait(1, 105.0, 0)
    assert now[0] == pytest.approx(105.05)


def test_parties_in_one_process_have_the_link_too() -> None:
    transports = connect_memory(link=(0.0, 1e9))
    threading.Thread(target=lambda: transports[0].send(2, np.arange(4, dtype=np.uint64))).start()
    assert np.array_equal(transports[2].receive(0, 4), np.arange(4))
    assert transports[2].link is not None
    impatient = connect_memory(patience=0.05)
    with pytest.raises(ProtocolError, match=r"nothing for 0\.05 s"):
        impatient[1].receive(0, 1)
