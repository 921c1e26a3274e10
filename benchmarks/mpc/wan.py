"""A wide-area network for three processes of one machine: a network namespace and a TUN device each, and a relay.

The relay reads every packet, lets it wait for its turn on the sender's uplink (one queue a host, as a shaped
interface has) and for the latency, and writes it to the receiver's device. TCP is the kernel's own, with its slow
start and windows, so a peer is slowed exactly as we are. Needs root and /dev/net/tun, no netem. Standard library only,
as SPU's interpreter imports it too.
"""

import ctypes
import fcntl
import heapq
import multiprocessing
import os
import select
import socket
import struct
import tempfile
import time

LATENCY = 0.04425  # s, one way
BANDWIDTH = 220e6 / 8  # B/s, uplink of each host
_MTU = 9000
_HEADERS = 28  # what the link carries beside an IP packet; a TUN device has no link layer of its own
_NEWNET, _TUNSETIFF, _IFF_TUN_NO_PI = 0x40000000, 0x400454CA, 0x1001
_SIOCSIFADDR, _SIOCSIFNETMASK, _SIOCSIFMTU, _SIOCSIFFLAGS, _SIOCSIFTXQLEN = 0x8916, 0x891C, 0x8922, 0x8914, 0x8943
_UP_RUNNING = 0x41


def address(party):
    """Return the IP address of a party inside the emulated network."""
    return f"10.77.0.{party + 1}"


def available():
    """Return whether this machine lets us make network namespaces and TUN devices."""
    return os.geteuid() == 0 and os.access("/dev/net/tun", os.R_OK | os.W_OK)


def _sockaddr(text):
    return struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(text))


def enter(party, gate):
    """Move this process into a namespace of its own, whose only way out is a TUN device handed to the relay at `gate`.

    Call it before any thread or socket of the process exists.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_NEWNET):
        raise OSError(ctypes.get_errno(), "cannot make a network namespace")
    tun = os.open("/dev/net/tun", os.O_RDWR)
    name = b"tun0"
    fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH22x", name, _IFF_TUN_NO_PI))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCSIFADDR, struct.pack("16s16s8x", name, _sockaddr(address(party))))
        fcntl.ioctl(control, _SIOCSIFNETMASK, struct.pack("16s16s8x", name, _sockaddr("255.255.255.0")))
        fcntl.ioctl(control, _SIOCSIFMTU, struct.pack("16si20x", name, _MTU))
        fcntl.ioctl(control, _SIOCSIFTXQLEN, struct.pack("16si20x", name, 5000))
        for device in (name, b"lo"):
            fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH22x", device, _UP_RUNNING))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.connect(gate)
        socket.send_fds(line, [bytes([party])], [tun])
        line.recv(1)  # the relay runs
    os.close(tun)


def _relay(gate, count, latency, bandwidth):
    """Carry packets until every device is gone; ends with its parent."""
    devices = {}
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
        door.bind(gate)
        door.listen(count)
        lines = []
        for _ in range(count):
            line, _ = door.accept()
            party, fds, _, _ = socket.recv_fds(line, 1, 1)
            os.set_blocking(fds[0], False)
            devices[party[0]] = fds[0]
            lines.append(line)
        for line in lines:
            line.sendall(b"1")
            line.close()
    by_fd = {fd: party for party, fd in devices.items()}
    by_address = {socket.inet_aton(address(p)): fd for p, fd in devices.items()}
    free = dict.fromkeys(devices, 0.0)
    due, number = [], 0
    poll = select.epoll()
    for fd in by_fd:
        poll.register(fd, select.EPOLLIN)
    while True:
        pause = max(0.0, due[0][0] - time.monotonic()) if due else 1.0
        for fd, _ in poll.poll(pause):
            while True:
                try:
                    packet = os.read(fd, 65536)
                except BlockingIOError:
                    break
                target = by_address.get(packet[16:20]) if packet[0] >> 4 == 4 else None
                if target is None:
                    continue
                sender = by_fd[fd]
                free[sender] = max(time.monotonic(), free[sender]) + (len(packet) + _HEADERS) / bandwidth
                number += 1
                heapq.heappush(due, (free[sender] + latency, number, target, packet))
        now = time.monotonic()
        while due and due[0][0] <= now:
            _, _, target, packet = heapq.heappop(due)
            try:
                os.write(target, packet)
            except OSError:  # the receiver has ended: its packets are lost, as on a real network
                continue


class Network:
    """A context whose `gate` is given to `enter` in each of `count` processes."""

    def __init__(self, count=3, latency=LATENCY, bandwidth=BANDWIDTH):
        self._arguments = (count, latency, bandwidth)

    def __enter__(self):
        self._folder = tempfile.TemporaryDirectory()
        self.gate = os.path.join(self._folder.name, "gate")  # noqa: PTH118  standard library only, and a socket's name
        context = multiprocessing.get_context("spawn")
        self._process = context.Process(target=_relay, args=(self.gate, *self._arguments), daemon=True)
        self._process.start()
        while not os.path.exists(self.gate):  # noqa: PTH110
            time.sleep(0.01)
        return self

    def __exit__(self, *failure):
        self._process.terminate()
        self._process.join()
        self._folder.cleanup()
