"""Makes `docs/page.png`, the README's picture: the first screen of a benchmark's page, in chromium.

    python scripts/page_picture.py [results/sample/index.html] [--output docs/page.png] [--dark] [--width 1280]

Needs Debian's chromium and chromium-driver, and selenium (the extra `test`).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
MOST = 200_000
"""Bytes of a picture."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("page", type=Path, nargs="?", default=ROOT / "results" / "sample" / "index.html")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "page.png")
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=640)
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--all", action="store_true", help="the whole page, not only its first screen")
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT / "tests"))
    from page.browser import Browser

    with tempfile.TemporaryDirectory() as folder:
        browser = Browser(Path(folder))
        try:
            size = {"width": options.width, "dark": options.dark}
            browser.open(options.page.resolve(), height=options.height, **size)
            browser.wait("return document.querySelector('.drawing svg')")
            if options.all:
                height = browser.run("return document.documentElement.scrollHeight")
                browser.open(options.page.resolve(), height=height, **size)
                browser.wait("return [...document.querySelectorAll('.drawing')].every((d) => d.querySelector('svg'))")
            browser.driver.save_screenshot(str(options.output))
        finally:
            browser.close()
    written = options.output.stat().st_size
    print(f"{options.output}: {written:,} bytes")
    sys.exit(written > MOST and not options.all)


if __name__ == "__main__":
    main()
