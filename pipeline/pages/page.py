"""HTML pages of one file: no network, light and dark, names always shown as text."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from beamvec import __version__
from beamvec.errors import ArgumentError
from beamvec.pipeline.terminal import show
from beamvec.pipeline.units import format_duration, format_size
from beamvec.transforms.files import storage


def require_extra(package: str) -> None:
    """Raise `ArgumentError` if one of the packages of the extra `explore` is not installed."""
    if not storage.is_installed(package):
        raise ArgumentError(f"{package} is not installed: pip install 'beamvec[explore]'")


def render(template: str, scripts: Sequence[str] = (), **values: Any) -> str:
    """Fill a template of `templates/`; what is filled in is escaped.

    Args:
        template: the file's name.
        scripts: files of `templates/` that the page runs.
        values: what the template asks for.
    """
    require_extra("jinja2")
    text: str = (
        _environment()
        .get_template(template)
        .render(
            **values,
            version=__version__,
            style=_read("style.css"),
            scripts=[_Script(_read(script)) for script in scripts],
        )
    )
    return text


class _Script:
    """A script, and the hash by which the page's content security policy allows it alone."""

    def __init__(self, text: str):
        self.text = text.replace("</script", "<\\/script")
        digest = hashlib.sha256(self.text.encode()).digest()
        self.source = f"'sha256-{base64.b64encode(digest).decode()}'"


def as_json(value: Any) -> str:
    r"""Return JSON that can stand in a script element, whatever strings it holds.

    >>> as_json(["</script>"])
    '["\\u003c/script\\u003e"]'
    """
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def write_page(path: str, html: str, note: str = "") -> None:
    """Write a page, whole or not at all, and say so; the note is what else is to be known of it.

    Raises:
        ArgumentError: if it cannot be written.
    """
    try:
        storage.write_file(path, html.encode("utf-8", "replace"))
    except OSError as error:
        raise ArgumentError(f"cannot write {path}: {error}") from error
    size = format_size(len(html.encode("utf-8", "replace")))
    show(f"wrote {path} ({size})", *([note] if note else []))


@functools.cache
def _environment() -> Any:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["name"] = name_of
    environment.filters["count"] = lambda number: f"{number:,}"
    environment.filters["number"] = _format_number
    environment.filters["size"] = format_size
    environment.filters["duration"] = format_duration
    return environment


def name_of(uri: str) -> str:
    """Return the last part of a path or URI.

    >>> name_of("s3://bucket/photos/a.jpg")
    'a.jpg'
    """
    return uri.rstrip("/").rpartition("/")[2] or uri


def _format_number(value: float) -> str:
    """Write a number of a chart.

    >>> _format_number(12345), _format_number(0.25), _format_number(3.0)
    ('12,345', '0.25', '3')
    """
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


_FOLDER = Path(__file__).parent / "templates"


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")
