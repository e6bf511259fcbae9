"""The README of the package's metadata: what links into the repository leads there, from wherever it is read.

The address is ``Source`` of ``[project.urls]``. As long as there is none, such links are plain words.
"""

import re
from pathlib import Path

from hatchling.metadata.plugin.interface import MetadataHookInterface

LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?://|#)([^)\s]+)\)")


class ReadmeHook(MetadataHookInterface):
    """Fills in ``readme``, which pyproject.toml calls dynamic."""

    def update(self, metadata: dict) -> None:
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        source = metadata.get("urls", {}).get("Source", "")
        metadata["readme"] = {"content-type": "text/markdown", "text": readable_anywhere(text, source)}


def readable_anywhere(text: str, source: str) -> str:
    """Markdown whose links into the repository are those of its address, or words without one."""

    def absolute(match: re.Match[str]) -> str:
        picture, words, path = match.groups()
        if not source:
            return "" if picture else words
        return f"{picture}[{words}]({source.rstrip('/')}/{'raw' if picture else 'blob'}/HEAD/{path})"

    return LINK.sub(absolute, text)
