"""Plots as pictures, through vl-convert: for papers, and for readers without JavaScript."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from importlib import util
from pathlib import Path
from typing import Any

from harness.errors import HarnessError, did_you_mean
from harness.io import write_file
from harness.page.plots import Spec, theme

FORMATS = ("svg", "pdf", "png")
VEGA_LITE = "6.4"
"""The version that draws pictures, of those that vl-convert has."""
PNG_SCALE = 3.0


def installed() -> bool:
    """Whether pictures can be drawn here."""
    return util.find_spec("vl_convert") is not None


def check_formats(formats: Iterable[str]) -> list[str]:
    """The formats, each once.

    Raises:
        HarnessError: one that is none, or the extra is not installed.
    """
    chosen = list(dict.fromkeys(formats))
    for form in chosen:
        if form not in FORMATS:
            raise HarnessError(f"plots '{form}': they are {', '.join(FORMATS)}.{did_you_mean(form, FORMATS)}")
    if chosen and not installed():
        raise HarnessError("plots need vl-convert, which is not installed: pip install 'enct5-harness[plots]'")
    return chosen


def svg(spec: Spec) -> str:
    """A plot as SVG without style attributes, which the page's security policy would refuse."""
    drawn = _convert().vegalite_to_svg(themed(spec), vl_version=VEGA_LITE)
    return re.sub(r' style="[^"]*"', "", drawn)


def themed(spec: Spec) -> Spec:
    """The specification with the light theme and what it says itself of colours."""
    config = theme()
    return {**spec, "config": {**config, "range": spec.get("usermeta", {}).get("range", config["range"])}}


def write_pictures(folder: Path, specs: Mapping[str, Spec], formats: Iterable[str]) -> list[Path]:
    """Write every plot in every format.

    Raises:
        HarnessError: the disk says no.
    """
    convert, paths = _convert(), []
    for name, spec in specs.items():
        for form in formats:
            path = folder / f"{name}.{form}"
            write_file(path, _drawn(convert, themed(spec), form))
            paths.append(path)
    return paths


def _drawn(convert: Any, spec: Spec, form: str) -> bytes:
    if form == "svg":
        return str(convert.vegalite_to_svg(spec, vl_version=VEGA_LITE)).encode()
    if form == "png":
        return bytes(convert.vegalite_to_png(spec, vl_version=VEGA_LITE, scale=PNG_SCALE))
    return bytes(convert.vegalite_to_pdf(spec, vl_version=VEGA_LITE))


def _convert() -> Any:
    import vl_convert

    return vl_convert
