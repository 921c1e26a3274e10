"""No word of a share in clear on a disk or in a log: the very words are searched for, sent ones and computed ones."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from tests.mpc.servers import Cluster, patience

from medveil.mpc import connections
from medveil.mpc.shares import Share

torch = pytest.importorskip("torch")
nn = torch.nn


def found_in(data: bytes, words: np.ndarray) -> int:
    """Return how many of some 64-bit words stand in bytes, at any offset, in either order of their bytes."""
    wanted = np.concatenate([words, words.byteswap()])
    count = 0
    for offset in range(8):
        body = data[offset : offset + (len(data) - offset) // 8 * 8]
        count += int(np.isin(np.frombuffer(body, np.uint64), wanted).sum())
    return count


def words_of(shares: list[Share]) -> np.ndarray:
    parts = [part.reshape(-1) for share in shares for part in (share.first, share.second)]
    words = np.concatenate([p for p in parts if p.dtype == np.uint64])
    return words[words > 2**32]  # smaller ones, by a rare chance, would be found by chance too


def test_disks_and_logs_hold_no_word_of_a_share(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with np.load(shared_data / "chest_xray_pneumoniamnist" / "train.npz") as data:
        images, labels = data["images"][:24, None] / 255.0, data["labels"][:24].reshape(-1).astype(int)
    kept: list[Share] = []
    split, join = connections.split, connections.join

    def recording_split(words: np.ndarray) -> tuple[Share, Share, Share]:
        three = split(words)
        kept.extend(three)
        return three

    def recording_join(three: tuple[Share, Share, Share]) -> np.ndarray:
        kept.extend(three)
        return join(three)

    monkeypatch.setattr(connections, "split", recording_split)
    monkeypatch.setattr(connections, "join", recording_join)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        running = Cluster(folder)
        try:
            with running.client() as servers:
                model = nn.Sequential(nn.Flatten(), nn.Linear(784, 8), nn.ReLU(), nn.Linear(8, 2))
                run = servers.train(model, images, labels, epochs=2, lr=0.05, momentum=0.9, test=(images, labels))
                run.wait(timeout=patience(60))
                run.reveal_state_dict()
                run.predict(images[:5])
                servers.share_model(model, (1, 28, 28))
        finally:
            running.stop()
        files = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    words = words_of(kept)
    assert len(words) > 100_000
    stored = b"".join(files.values())
    assert found_in(stored, words) == 0
    assert found_in(b"x" + words[:50].tobytes() + stored, words) == 50  # the search does find
    texts = b"".join(data for path, data in files.items() if path.suffix != ".shares").lower()
    for word in np.random.default_rng(1).choice(words, 500).tolist():
        assert str(word).encode() not in texts
        assert f"{word:x}".encode() not in texts
    plain = (images[0, 0] * 65536).round().astype(np.uint64).tobytes()
    assert plain[200:280] not in stored
    for path, data in files.items():
        if path.suffix == ".shares":
            assert data.startswith(b"MVSH1"), path.name
