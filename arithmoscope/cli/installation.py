"""Checks of the installation: the extras that a command needs, and that all packages are of one copy."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from arithmoscope.contracts.errors import Refusal

_DISTRIBUTION = "arithmoscope"
# In a wheel all packages are siblings; in a checkout these two have their own folders.
_FOLDERS = {"arithmoscope_api": "backend", "arithmoscope_worker": "worker"}


def require_extra(extra: str, command: str) -> None:
    """Raise Refusal (``bad_setting``) if a distribution that ``extra`` of pyproject.toml names is not installed."""
    missing = sorted(_missing(extra))
    if missing:
        raise Refusal(
            "bad_setting",
            f"arithmoscope {command} needs the extra '{extra}', and {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not installed.",
            f"pip install 'arithmoscope[{extra}]'",
        )


def require_one_copy() -> None:
    """Raise Refusal (``bad_setting``) if the packages that Python finds are of two copies of Arithmoscope.

    Python looks into the current folder first: in another checkout, `python -m arithmoscope` takes the library from
    there and the server from where it is installed.
    """
    here = Path(__file__).resolve().parents[2]
    for package, folder in _FOLDERS.items():
        spec = find_spec(package)
        if spec is None or spec.origin is None:
            continue
        there = Path(spec.origin).resolve().parents[1]
        if there not in (here, here / folder):
            raise Refusal(
                "bad_setting",
                f"There are two copies of Arithmoscope: arithmoscope in {here} and {package} in {there}.",
                "Run the command from another folder, or uninstall one of them.",
            )


def _missing(extra: str) -> Iterator[str]:
    from packaging.requirements import Requirement

    try:
        requirements = metadata.requires(_DISTRIBUTION) or []
    except metadata.PackageNotFoundError:  # run from source without being installed: its requirements are unknown
        return
    for requirement in map(Requirement, requirements):
        if requirement.marker is None or not requirement.marker.evaluate({"extra": extra}):
            continue
        if requirement.name == _DISTRIBUTION:
            for inner in requirement.extras:
                yield from _missing(inner)
            continue
        try:
            metadata.distribution(requirement.name)
        except metadata.PackageNotFoundError:
            yield requirement.name
