"""Time of a rotation: every grant of a recipient is wrapped for the new epoch and replaces the old one everywhere."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from benchmarks.measure import machine
from benchmarks.search.corpora import hospital
from medveil.crypto import canonical
from medveil.crypto.envelope import RecipientPrivateKey
from medveil.crypto.keyfile import OwnerKey
from medveil.crypto.prg import SYSTEM
from medveil.stores.directory import DirectoryStore
from medveil.vault import Vault, parse_config
from medveil.vault.grants.recipients import fingerprint_of, public_file
from medveil.vault.grants.records import Said

OWNER = OwnerKey(bytes(range(32)))
CLOUDS = ("north", "east", "south", "west")


def main(studies: int) -> None:
    print(machine())
    key = RecipientPrivateKey.generate()
    with tempfile.TemporaryDirectory(prefix="medveil-rewrap-") as name:
        folder = Path(name)
        stores = [DirectoryStore(folder / one, one, one) for one in CLOUDS]
        tables = {
            "vault": {"threshold": "2/4", "state": "state"},
            "store": [{"type": "directory", "name": one, "provider": one, "path": one} for one in CLOUDS],
        }
        vault = Vault.init(parse_config(tables, base=folder), OWNER, stores=stores)
        grants = vault.grants
        grants.add_recipient("alice", public_file(key.public), fingerprint_of(key.public))
        tokens = _fill(vault, studies)
        grants._ledger.give("alice", tokens, 0, 0)
        start = time.perf_counter()
        grants.resume()
        print(f"{studies:,} studies granted to one recipient: {time.perf_counter() - start:.1f} s")
        start, used = time.perf_counter(), time.process_time()
        report = grants.rotate()
        seconds, used = time.perf_counter() - start, time.process_time() - used
        packs = grants._ledger.packs("alice", "live")
        size = sum(len(one.record) for one in packs)
        print(f"rotated to epoch {report.epoch}: {report.grants:,} grants wrapped anew in {seconds:.1f} s")
        print(f"  of which the processor worked {used:.1f} s")
        print(f"  {len(packs)} signed records, {size / 2**20:.0f} MiB, at each of {len(CLOUDS)} stores on this disk")
        print(f"  {size / studies:.0f} B a study, with what it says of itself, so that no index is needed to search it")
        vault.close()


def _fill(vault: Vault, studies: int) -> list[bytes]:
    """Enter studies of one file as puts would, in one transaction."""
    members = vault._session.members
    assert members is not None
    rows = []
    for entry in hospital(studies):
        said = entry.described
        token = members.token(said.study_uid, entry.object_id)
        plain = Said(entry.size, said.study, said.instance, "file.dcm").encode()
        nonce = SYSTEM.bytes(12)
        where = canonical.encode(["member", entry.object_id, 1])
        rows.append((token, entry.object_id, 1, 1, nonce + members._cipher.encrypt(nonce, plain, where)))
    with members.ledger.writing() as db:
        db.executemany("INSERT INTO members VALUES (?, ?, ?, ?, ?)", rows)
    return [row[0] for row in rows]
