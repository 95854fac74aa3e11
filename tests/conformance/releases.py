"""`python -m tests.conformance.releases FOLDER [--from BASE] [--only NAME ...]`: checkouts of what releases.txt names.

Of each repository the paths that are used, at its commit, under its own name in FOLDER, which is then what
LEADTIME_RELEASES names. BASE is a URL or a folder with OWNER/NAME below it. What is there already is left as it is.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

LIST: Final = Path(__file__).with_name("releases.txt")
GITHUB: Final = "https://github.com"


@dataclass(frozen=True)
class Release:
    """A repository, OWNER/NAME, at a commit, and the paths of it that tests use."""

    repository: str
    commit: str
    paths: tuple[str, ...]

    @property
    def folder(self) -> str:
        """The name of its checkout."""
        return self.repository.rpartition("/")[2]


def releases() -> list[Release]:
    """Return what releases.txt names."""
    rows = [line.split() for line in LIST.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return [Release(repository, commit, tuple(paths)) for repository, commit, *paths in rows]


def check_out(release: Release, base: str, into: Path) -> None:
    """Make the checkout of a release in a folder; CalledProcessError where git cannot."""
    into.parent.mkdir(parents=True, exist_ok=True)
    # Whole or not at all.
    with tempfile.TemporaryDirectory(dir=into.parent, prefix=".making-") as making:
        begun = Path(making) / into.name

        def git(*arguments: str) -> None:
            subprocess.run(["git", "-c", "advice.detachedHead=false", *arguments], check=True)

        git("init", "--quiet", str(begun))
        git("-C", str(begun), "remote", "add", "origin", f"{base}/{release.repository}")
        # Blobs come with the checkout, those of the paths only.
        git("-C", str(begun), "fetch", "--quiet", "--depth", "1", "--filter=blob:none", "origin", release.commit)
        git("-C", str(begun), "checkout", "--quiet", release.commit, "--", *release.paths)
        begun.rename(into)


def main() -> int:
    """Entry of the command; 1 where a checkout could not be made."""
    parser = argparse.ArgumentParser(description="Checkouts of the released code that tests run or read.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--from", dest="base", default=GITHUB, help=f"instead of {GITHUB}")
    parser.add_argument("--only", nargs="+", help="names of repositories")
    given = parser.parse_args()
    failed = []
    for release in releases():
        into = given.folder / release.folder
        if into.is_dir() or (given.only and release.folder not in given.only):
            continue
        try:
            check_out(release, given.base, into)
        except subprocess.CalledProcessError:
            failed.append(release.repository)
    if failed:
        print(f"no checkout of {', '.join(failed)}", file=sys.stderr)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
