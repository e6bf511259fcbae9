"""What the package's metadata say of where it is from: the project's links, and a README whose links lead there.

The address of the repository is the environment variable ``SOURCE_URL`` of the build. Without it there are no project
links, and what links into the repository is plain words.
"""

import os
import re
from pathlib import Path

from hatchling.metadata.plugin.interface import MetadataHookInterface

LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?://|#)([^)\s]+)\)")


class SourceHook(MetadataHookInterface):
    """Fills in ``readme`` and ``urls``, which pyproject.toml calls dynamic."""

    def update(self, metadata: dict) -> None:
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        source = os.environ.get("SOURCE_URL", "").rstrip("/")
        metadata["readme"] = {"content-type": "text/markdown", "text": readable_anywhere(text, source)}
        metadata["urls"] = project_links(source)


def project_links(source: str) -> dict[str, str]:
    """The repository, its documentation and its changelog; nothing without an address."""
    if not source:
        return {}
    pages = {"Documentation": "tree/HEAD/docs", "Changelog": "blob/HEAD/CHANGELOG.md"}
    return {"Source": source, **{name: f"{source}/{page}" for name, page in pages.items()}}


def readable_anywhere(text: str, source: str) -> str:
    """Markdown whose links into the repository are those of its address, or words without one."""

    def absolute(match: re.Match[str]) -> str:
        picture, words, path = match.groups()
        if not source:
            return "" if picture else words
        return f"{picture}[{words}]({source.rstrip('/')}/{'raw' if picture else 'blob'}/HEAD/{path})"

    return LINK.sub(absolute, text)
