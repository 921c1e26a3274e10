"""The gateway's tests sync many small files: memory takes that quickly, and nothing here outlives its process."""

from tests.vault.conftest import tmp_path

__all__ = ["tmp_path"]
