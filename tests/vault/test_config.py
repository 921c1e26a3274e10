"""vault.toml: what is taken, and that what is not is refused with a sentence that says which."""

from __future__ import annotations

from pathlib import Path

import pytest

from medveil.errors import ConfigError
from medveil.vault import load_config
from medveil.vault.config import parse_threshold
from medveil.vault.placement import place, ranked, spares

STORE = '[[store]]\ntype = "directory"\nname = "{0}"\nprovider = "{1}"\npath = "clouds/{0}"\n'


def toml(folder: Path, vault: str = "", stores: tuple[tuple[str, str], ...] = ()) -> Path:
    path = folder / "vault.toml"
    path.write_text(f"[vault]\n{vault}\n" + "".join(STORE.format(*one) for one in stores))
    return path


FOUR = (("a", "p"), ("b", "q"), ("c", "r"), ("d", "s"))


def test_takes_relative_paths_from_the_file(tmp_path: Path) -> None:
    checked = load_config(toml(tmp_path, 'state = "local"\nowner = "keys/owner.key"', FOUR))
    assert checked.state == tmp_path / "local"
    assert checked.owner == tmp_path / "keys" / "owner.key"
    assert [one.path for one in checked.stores] == [tmp_path / "clouds" / name for name in "abcd"]  # type: ignore[attr-defined]
    assert (checked.k, checked.n) == (2, 4)


@pytest.mark.parametrize(
    ("vault", "stores", "said"),
    [
        ("", FOUR[:3], "4 parts need 4 different providers, and there are 3"),
        ("", (*FOUR[:3], ("d", "p")), "a, d all belong to p"),
        ("", (*FOUR[:3], ("a", "s")), "two stores are called 'a'"),
        ('threshold = "3/2"', FOUR, "threshold '3/2'"),
        ('threshold = "0/4"', FOUR, "threshold '0/4'"),
        ('threshold = "2 of 4"', FOUR, "threshold '2 of 4'"),
        ('threshold = "2/33"', FOUR, "threshold '2/33'"),
        ('mode = "keyless"', FOUR, "mode"),
        ('mode = "perfect"\nthreshold = "1/4"', FOUR, "needs a threshold of at least 2"),
        ('codec = "jpeg"', FOUR, "codec"),
        ("colour = 1", FOUR, "colour"),
        ("deadline = -1", FOUR, "deadline"),
        ('dataset = "../x"', FOUR, "dataset"),
        ("", (), "there are 0"),
    ],
)  # fmt: skip
def test_refuses_and_says_which(tmp_path: Path, vault: str, stores: tuple[tuple[str, str], ...], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_config(toml(tmp_path, vault, stores))
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[vault", "not valid TOML"),
        ("\xff", "unknown|not valid"),
        ("[vaults]\n", "unknown table"),
        ("store = 1\n", "one table"),
        ("[[store]]\nname = 'a'\n", "no type"),
        ("[[store]]\ntype = 'moon'\nname = 'a'\n", "no store of type"),
        ("[[store]]\ntype = 'directory'\nname = 'a'\npath = 'x'\npassword = 'hunter2'\n", "secret"),
    ],
)
def test_refuses_other_files(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "vault.toml"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(ConfigError, match=said) as refused:
        load_config(path)
    assert "hunter2" not in str(refused.value)


def test_refuses_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        load_config(tmp_path / "nothing.toml")
    (tmp_path / "long.toml").write_bytes(b"#" * ((1 << 20) + 1))
    with pytest.raises(ConfigError, match="larger than any"):
        load_config(tmp_path / "long.toml")


@pytest.mark.parametrize("text", ["2/4", "1/1", "32/32", "4/10"])
def test_thresholds(text: str) -> None:
    assert "/".join(map(str, parse_threshold(text))) == text


def test_never_two_parts_at_one_provider() -> None:
    stores = {f"store-{i}": f"provider-{i % 5}" for i in range(15)}
    for number in range(200):
        object_id = number.to_bytes(16, "big")
        chosen = place(object_id, stores, 4)
        assert len(chosen) == 4 == len({stores[name] for name in chosen})
        left = spares(object_id, stores, chosen, frozenset())
        assert left
        assert not {stores[name] for name in left} & {stores[name] for name in chosen}


def test_objects_are_spread_evenly_and_move_little() -> None:
    stores = {f"store-{i}": f"provider-{i}" for i in range(8)}
    ids = [number.to_bytes(16, "big") for number in range(2000)]
    counts = dict.fromkeys(stores, 0)
    for one in ids:
        for name in place(one, stores, 4):
            counts[name] += 1
    assert 850 < min(counts.values()) <= max(counts.values()) < 1150  # 1000 each by expectation, 5 sigma is 112
    fewer = {name: provider for name, provider in stores.items() if name != "store-3"}
    for one in ids[:200]:
        kept = [name for name in ranked(one, stores) if name != "store-3"]
        assert list(ranked(one, fewer)) == kept
