"""The lock file installs what pyproject.toml asks for, and nothing without a hash."""

import itertools
import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
PINNED = re.compile(r"^([a-z0-9][a-z0-9._-]*)==([^ ]+)(?: ; [^\\]+)? \\$")


def _lock() -> list[str]:
    return (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()


def _pins() -> dict[str, set[str]]:
    pins: dict[str, set[str]] = {}
    for line in _lock():
        if found := PINNED.match(line):
            pins.setdefault(found[1], set()).add(found[2])
    return pins


def test_the_lock_satisfies_what_is_asked_for() -> None:
    """Every dependency of the default install is pinned, in versions that its range allows."""
    pins = _pins()
    for text in tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]:
        wanted = Requirement(text)
        name = re.sub(r"[-_.]+", "-", wanted.name).lower()
        assert pins.get(name), f"{name} is not in requirements.lock: run `make lock`"
        assert all(wanted.specifier.contains(version) for version in pins[name]), (name, pins[name])


def test_everything_in_the_lock_has_a_hash_and_no_address() -> None:
    """A line is a pinned version or one of its hashes; where it comes from is the installer's to say."""
    lines = _lock()
    assert all(PINNED.match(line) or re.match(r"^    --hash=sha256:[0-9a-f]{64}( \\)?$", line) for line in lines)
    assert all("--hash=" in following for line, following in itertools.pairwise(lines) if PINNED.match(line))
