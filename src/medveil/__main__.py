"""Lets `python -m medveil` do what the command `medveil` does."""

from medveil.cli.main import run

if __name__ == "__main__":
    run()
