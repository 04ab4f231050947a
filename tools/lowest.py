"""The lowest versions that pyproject.toml allows of what the notebooks need, as constraints for pip: `make lowest`."""

import tomllib
from pathlib import Path

EXTRAS = ("figures", "notebooks")


def lowest(project):
    """{package: version}; of several, the highest"""
    needed = [*project["dependencies"], *(line for extra in EXTRAS for line in project["optional-dependencies"][extra])]
    found = {}
    for name, _, version in sorted(line.partition(">=") for line in needed):
        if version:
            found[name] = max(found.get(name, "0"), version, key=lambda text: [int(part) for part in text.split(".")])
    return found


if __name__ == "__main__":
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    print("\n".join(f"{name}=={version}" for name, version in lowest(project).items()))
