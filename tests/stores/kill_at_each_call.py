"""Run by test_directory: puts one object and is killed at a chosen system call; not a test itself.

Arguments: folder, number of the call to die at. Prints the number of calls if it lives to the end.
"""

from __future__ import annotations

import os
import signal
import sys

from medveil.stores.directory import DirectoryStore

CALLS = ("open", "write", "fsync", "link", "unlink", "mkdir", "close", "lstat")


def main() -> None:
    folder, number = sys.argv[1], int(sys.argv[2])
    store = DirectoryStore(folder)
    made = 0

    def watched(original):  # type: ignore[no-untyped-def]
        def call(*arguments, **keywords):  # type: ignore[no-untyped-def]
            nonlocal made
            made += 1
            if made == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments, **keywords)

        return call

    for name in CALLS:
        setattr(os, name, watched(getattr(os, name)))
    store.put("study/series/part-1", [b"a" * 4000, b"b" * 4000, b"c" * 4000])
    print(made)


if __name__ == "__main__":
    main()
