"""One address and one version of the repository, everywhere: badges, install cells, links, the picture of the deck that
is shown where somebody links to it, the citation, the package.

make address REPO=owner/name VERSION=1.2.3
"""

import re
import subprocess
import sys
import tomllib
from contextlib import ExitStack
from pathlib import Path

from sdscope import SdscopeError, files

ROOT = Path(__file__).parents[1]
REPO = re.compile(r"[A-Za-z0-9]+(-[A-Za-z0-9]+)*/(?!\.{1,2}$)[A-Za-z0-9._-]+(?<!\.git)")
# PEP 440, and of the ways in which it lets one version be written, the one that wheels are named by: so does the tag.
NUMBER = r"(0|[1-9]\d*)"
VERSION = re.compile(
    rf"(?:[1-9]\d*!)?{NUMBER}(\.{NUMBER})*((a|b|rc){NUMBER})?(\.post{NUMBER})?(\.dev{NUMBER})?", re.ASCII
)
# Where the version stands. Everything else, the notebooks' tag too, is of this form or reads it here.
VERSIONS = {
    "src/sdscope/version.py": r'(?<=^__version__ = ")[^"]+(?="$)',
    "CITATION.cff": r'(?<=^version: ")[^"]+(?="$)',
    "notebooks/**/*.ipynb": r'(?<=^    "    release = \\"v)[^"\\]+(?=\\"\\n",$)',
}


def repository(root=ROOT):
    """owner/name, as they are"""
    page = tomllib.loads((root / "pyproject.toml").read_text())["project"]["urls"]["Homepage"]
    return page.removeprefix("https://github.com/")


def pages(repo):
    """Where GitHub Pages shows what a repository publishes"""
    owner, name = repo.split("/")
    return f"{owner.lower()}.github.io/{name}"


def addressed(old, new, root=ROOT):
    """{file: text} of all that name the repository `old`: they name `new`"""
    whole = r"(?![\w-]|\.\w)"  # not the beginning of a longer name
    places = re.compile(rf"(?<=github\.com/){re.escape(old)}{whole}|(?<=com/github/){re.escape(old)}{whole}")
    page = re.compile(rf"(?<=https://){re.escape(pages(old))}{whole}")
    command = ["git", "grep", "--no-index", "--exclude-standard", "-lzIF", "-e", old, "-e", pages(old)]
    found = subprocess.run(command, cwd=root, capture_output=True, text=True).stdout.split("\0")[:-1]
    texts = {root / name: (root / name).read_text() for name in sorted(found)}
    return {path: page.sub(pages(new), places.sub(new, text)) for path, text in texts.items()}


def versioned(texts, version, root=ROOT):
    """{file: text}, those of `texts` and those where the version stands: it is `version`"""
    texts = dict(texts)
    for place, pattern in VERSIONS.items():
        for path in sorted(root.glob(place)):
            text = texts.get(path) or path.read_text()
            texts[path], times = re.subn(pattern, version, text, flags=re.MULTILINE)
            if times != 1:
                raise SdscopeError(f"{path.relative_to(root)} names {times} versions, not one: look at it first")
    return texts


def told(repo, version):
    """What is wrong with what was given, or None"""
    if not repo and not version:
        return "Say what the address and the version are: make address REPO=owner/name VERSION=1.2.3 (one will do)"
    if repo and not REPO.fullmatch(repo):
        return f"REPO={repo} is no repository on GitHub: write its owner and its name, REPO=owner/name"
    if version and not VERSION.fullmatch(version):
        return f"VERSION={version} is no version as PEP 440 writes it: VERSION=1.2.3, or 1.2.3rc1"
    return None


def main(repo, version):
    if wrong := told(repo, version):
        sys.exit(wrong)
    try:
        texts = addressed(repository(), repo or repository())
        texts = versioned(texts, version) if version else texts
        changed = {path: text for path, text in texts.items() if text != path.read_text()}
        with ExitStack() as all_or_none:  # each is written beside its place; when all are, they are moved there
            for path, text in changed.items():
                all_or_none.enter_context(files.writing(path)).write_text(text)
    except SdscopeError as error:
        sys.exit(str(error))
    print(*(path.relative_to(ROOT) for path in changed), sep="\n")
    print(f"https://github.com/{repository()}, https://{pages(repository())}/: {len(changed)} files changed")


if __name__ == "__main__":
    main(*sys.argv[1:])
