"""Where the JavaScript of the results page comes from: npm packages at fixed versions, unchanged.

Downloads each package from the npm registry, checks it against the registry's SHA-512 that stands here, and compares
the files in `harness/page/vendor/` with those in it; `--write` puts them there, with their digests in `SHA256SUMS`:

    python scripts/vendor_page.py [--write]

A new version: change it here together with its `integrity` (`npm view NAME@VERSION dist.integrity`), and run with
`--write`. Vega-Embed contains vega-interpreter, which draws without `eval`.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import sys
import tarfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path

REGISTRY = "https://registry.npmjs.org"
FOLDER = Path(__file__).parents[1] / "harness" / "page" / "vendor"


@dataclass(frozen=True)
class Package:
    """A package: the script that is taken from it ("": none), and its licence."""

    name: str
    version: str
    integrity: str
    script: str
    licence: str = "LICENSE"


PACKAGES = (
    Package(
        "vega",
        "6.4.0",
        "sha512-rHXCq2LpEWCLMjXBEj7hocY9G0/i5TGYRayGGSj06VTF4+l2IG2Z7oeZKCjWbUh/7hTE/mVhbaOPB72wCElh6g==",
        "build/vega.min.js",
    ),
    Package(
        "vega-lite",
        "6.5.0",
        "sha512-fMXF6s0MrIg0UTWnLIfeFtgSLzVhyzSKobzGrh5rhS+mL6FOYFG3m7ouJ4U23gj65EK+gl9FIIT5w7wLNaAzkA==",
        "build/vega-lite.min.js",
    ),
    Package(
        "vega-embed",
        "7.3.0",
        "sha512-wQ8s5GaSzqoKgmRfbRolgBrjE2CP7ZKHXqH7NijxMqPjpdWxSs4Dn8tvp9g0giQvh2cK+3p56sxjWWM0wNngGw==",
        "build/vega-embed.min.js",
    ),
    Package(
        "datatables.net",
        "3.1.5",
        "sha512-phu9fVz1cOhD7kZDO5Ztj15qwghCkmdwX5AezLi+PxfMtnFAq0itpewvXzdwdr6bOwPqO2zuXsXWUU5x3wQptw==",
        "js/dataTables.min.js",
        "License.txt",
    ),
    # What these scripts contain of others:
    Package(
        "vega-interpreter",
        "2.3.2",
        "sha512-JDAoi3taFcCDLujZG84TNNUXdkAZ5WsSHssx8lWVYaxb9Slsjk7v7PtRIYXpSlUwLaKGRBqoJ9KDs36Z0eMEIw==",
        "",
    ),
    Package(
        "d3-array",
        "3.2.5",
        "sha512-Th8qGXoBalmWsstpkuhmBuTsBQIFqYOJtjlBvNVvBfJ8E3uYusBUwUR8HU20U0qKKQkgCvKyR1YjiozWadk5QA==",
        "",
    ),
    Package(
        "topojson-client",
        "3.1.0",
        "sha512-605uxS6bcYxGXw9qi62XyrV6Q3xwbndjachmNxu8HWTtVPxZfEJN9fd/SZS1Q54Sn2y0TMyMxFj/cJINqGHrKw==",
        "",
    ),
    Package(
        "delaunator",
        "5.1.0",
        "sha512-AGrQ4QSgssa1NGmWmLPqN5NY2KajF5MqxetNEO+o0n3ZwZZeTmt7bBnvzHWrmkZFxGgr4HdyFgelzgi06otLuQ==",
        "",
    ),
    Package(
        "fast-json-patch",
        "3.1.1",
        "sha512-vf6IHUX2SBcA+5/+4883dsIjpBTqmfBjmYiWK1savxQmFk4JfBMLa7ynTYOs1Rolp/T1betJxHiGD3g1Mn8lUQ==",
        "",
        "LICENSE.txt",
    ),
    Package(
        "semver",
        "7.8.6",
        "sha512-9lpSSU4Mly3mrtruwLs1eLK6+gzbzqeBFwRNjIjE+9LuDpWdYctrQlQ3ej1Ilgi7gknpsTRnPoLP8DpCHqHIJw==",
        "",
    ),
    Package(
        "json-stringify-pretty-compact",
        "4.0.0",
        "sha512-3CNZ2DnrpByG9Nqj6Xo8vqbjT4F6N+tb4Gb28ESAZjYZ5yqvmc56J+/kuIwkaAMOyblTQhUW7PxMkUb8Q36N3Q==",
        "",
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--write", action="store_true", help="write the files that differ")
    options = parser.parse_args()
    wanted = {name: content for package in PACKAGES for name, content in files_of(package).items()}
    sums = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(wanted.items())]
    wanted["SHA256SUMS"] = "".join(sums).encode()
    present = {path.name: path.read_bytes() for path in FOLDER.glob("*") if path.is_file()}
    differing = sorted(name for name in wanted.keys() | present.keys() if wanted.get(name) != present.get(name))
    for name in differing if options.write else ():
        if name in wanted:
            (FOLDER / name).write_bytes(wanted[name])
        else:
            (FOLDER / name).unlink()
    print(wanted["SHA256SUMS"].decode(), end="")
    if differing:
        print(f"{'written' if options.write else 'differ'}: {', '.join(differing)}")
    sys.exit(bool(differing) and not options.write)


def files_of(package: Package) -> dict[str, bytes]:
    """The files that are taken from a package, by the names that they have here."""
    short = package.name.rpartition("/")[2]
    url = f"{REGISTRY}/{package.name}/-/{short}-{package.version}.tgz"
    with urllib.request.urlopen(url, timeout=60) as response:
        archive = response.read()
    integrity = f"sha512-{base64.b64encode(hashlib.sha512(archive).digest()).decode()}"
    if integrity != package.integrity:
        raise SystemExit(f"{url} is not what it was: {integrity}")
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        root = tar.getnames()[0].split("/")[0]
        taken = {f"{short}-LICENSE.txt": package.licence}
        if package.script:
            taken[f"{short}.min.js"] = package.script
        return {name: tar.extractfile(f"{root}/{path}").read() for name, path in taken.items()}  # type: ignore[union-attr]


if __name__ == "__main__":
    main()
