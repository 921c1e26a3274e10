"""SPU's side, run by the interpreter of its own virtual environment: ABY3 over three processes on loopback.

usage: spu_peer.py JOB REPEATS [wan]; prints one JSON line. The network is the paper's, in jax, NHWC as SPU prefers.
"""

import contextlib
import json
import multiprocessing
import sys
import time
from pathlib import Path

import numpy as np
import wan

BATCH = 32


def functions():
    import jax
    import jax.numpy as jnp

    shapes = [(3, 3, 3, 32), (3, 3, 32, 64), (3, 3, 64, 128), (3, 3, 128, 128)]
    rng = np.random.default_rng(0)
    weights = []
    for shape in shapes:
        bound = 1 / np.sqrt(np.prod(shape[:3]))
        weights.append(rng.uniform(-bound, bound, shape).astype(np.float32))
        weights.append(np.zeros(shape[3], np.float32))
    weights += [rng.uniform(-0.04, 0.04, (512, 2)).astype(np.float32), np.zeros(2, np.float32)]

    def forward(w, x):
        for i in range(4):
            x = jax.lax.conv_general_dilated(x, w[2 * i], (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
            x = x + w[2 * i + 1]
            x = jax.nn.relu(x)  # the gradient of jnp.maximum would compare for equality as well
            if i < 3:
                _, h, width, _ = x.shape
                x = x[:, : h // 2 * 2, : width // 2 * 2]  # its backward pass fails where the pool does not divide
                # This form, not a reshape, is what SPU knows as a pool, forward and backward.
                x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        return x.reshape(x.shape[0], -1) @ w[8] + w[9]

    def step(w, x, y):
        def loss(w):
            z = forward(w, x)
            z = z - jnp.max(z, axis=1, keepdims=True)
            return jnp.mean(jnp.log(jnp.sum(jnp.exp(z), axis=1)) - jnp.sum(z * y, axis=1))

        return [a - 0.02 * g for a, g in zip(w, jax.grad(loss)(w), strict=True)]

    images = rng.random((BATCH, 50, 50, 3)).astype(np.float32)
    targets = np.eye(2, dtype=np.float32)[rng.integers(0, 2, BATCH)]
    big = rng.uniform(-100, 100, 10**6).astype(np.float32)
    square = rng.uniform(-1, 1, (1024, 1024)).astype(np.float32)
    return {
        "predict 1": (forward, [weights, images[:1]]),
        "predict 32": (forward, [weights, images]),
        "training step 32": (step, [weights, images, targets]),
        "10^6 comparisons with choice": (lambda x: jnp.maximum(x, 0), [big]),
        "10^6 products, truncated": (lambda x, y: x * y, [big, big]),
        "matmul 1024^3, truncated": (jnp.matmul, [square, square]),
        "10^4 divisions": (lambda x, y: x / y, [big[:10000], np.abs(big[10000:20000]) + 0.5]),
    }


def prepare(job):
    """Compile the job and share its inputs once; each party is handed the program and its own shares."""
    import jax
    import spu.libspu as libspu
    from spu import api
    from spu.utils import frontend

    config = libspu.RuntimeConfig(protocol=libspu.ProtocolKind.ABY3, field=libspu.FieldType.FM64)
    function, arguments = functions()[job]
    flat, _ = jax.tree_util.tree_flatten(arguments)
    names = [f"in{i}" for i in range(len(flat))]
    secret = libspu.Visibility.VIS_SECRET
    io = api.Io(3, config)
    shares = [io.make_shares(np.asarray(value), secret) for value in flat]
    executable, _ = frontend.compile(
        frontend.Kind.JAX, function, arguments, {}, names, [secret] * len(flat),
        lambda outputs: [f"out{i}" for i in range(len(outputs))],
    )  # fmt: skip
    return config, names, shares, executable


def loopback_bytes():
    for line in Path("/proc/net/dev").read_text().splitlines():
        if line.strip().startswith("lo:"):
            return int(line.split()[1])
    return 0


def party(rank, ports, prepared, repeats, gate, results):
    if gate:
        wan.enter(rank, gate)
    import spu.libspu as libspu
    from spu import api

    config, names, shares, executable = prepared
    desc = libspu.link.Desc()
    desc.recv_timeout_ms = 900_000
    for i, port in enumerate(ports):
        desc.add_party(f"P{i}", f"{wan.address(i) if gate else '127.0.0.1'}:{port}")
    link = libspu.link.create_brpc(desc, rank)
    runtime = api.Runtime(link, config)
    for name, share in zip(names, shares, strict=True):
        runtime.set_var(name, share)
    seconds, cpu, sent = [], [], 0
    for _ in range(repeats):
        link.all_gather("ready")
        before = loopback_bytes()
        start, own = time.perf_counter(), time.process_time()
        runtime.run(executable)
        link.all_gather("done")
        seconds.append(time.perf_counter() - start)
        cpu.append(time.process_time() - own)
        sent = (loopback_bytes() - before) // 3
    results.put((rank, seconds, sent, cpu))
    time.sleep(1)
    link.stop_link()


def main():
    import socket

    job, repeats = sys.argv[1], int(sys.argv[2])
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    config, names, shares, executable = prepare(job)
    handed = [(config, names, [s[r] for s in shares], executable) for r in range(3)]
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    with contextlib.ExitStack() as stack:
        gate = stack.enter_context(wan.Network()).gate if sys.argv[3:] == ["wan"] else ""
        processes = [
            context.Process(target=party, args=(r, ports, handed[r], repeats, gate, results)) for r in range(3)
        ]
        for p in processes:
            p.start()
        found = sorted(results.get(timeout=900) for _ in processes)
        for p in processes:
            p.join(5)
            p.terminate()
    best = {"job": job, "seconds": found[0][1], "CPU seconds, three parties": sum(min(f[3]) for f in found)}
    print(json.dumps(best if gate else {**best, "bytes_a_party": found[0][2]}))


if __name__ == "__main__":
    main()
