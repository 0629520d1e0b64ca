"""HTML pages of one file: no network, light and dark, names always shown as text."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from beamvec import __version__
from beamvec.embeddings.counted import counted
from beamvec.errors import ArgumentError
from beamvec.pipeline.terminal import show, warn
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
            style=_read("style.css") + _read("judging.css"),
            scripts=[_Script(_read(script)) for script in ("viewer.js", *scripts)],
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


_PAGE_STARTS = b"<!doctype html"
_SEEN_BYTES = 64


def check_page(path: str | None) -> None:
    """Raise `ArgumentError` if a page could not be written, before it is made.

    Of a store, only whether there are credentials for it: what it thinks of a write, it tells then.

    Args:
        path: the file, of which `~` is the home; None if no page is asked for.
    """
    if path is None:
        return
    try:
        if not os.path.basename(path):
            raise OSError("it names no file")
        storage.check_store(path)
        if storage.is_local(path):
            _check_file(os.path.expanduser(path))
    except OSError as error:
        raise _explain(path, error) from error


def _check_file(path: str) -> None:
    with suppress(FileNotFoundError):
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise OSError("it is a folder; name a file in it")
        if not stat.S_ISREG(mode):  # A file would take the place of a pipe or a device.
            raise OSError("it is no regular file")
        with open(path, "rb") as file:
            start = file.read(_SEEN_BYTES).lstrip().lower()
        if start and not start.startswith(_PAGE_STARTS):  # Such as a photograph, or a part.
            raise OSError("it is there, and no page; name another file")
    above = Path(os.path.realpath(path)).parents
    with tempfile.TemporaryFile(dir=next(folder for folder in above if folder.exists())):
        pass


def _explain(path: str, error: OSError) -> ArgumentError:
    # Without the name that the error has, which may be a temporary one.
    return ArgumentError(f"cannot write `html={path}`: {error.strerror or error}")


def write_page(path: str, html: str, note: str = "", *, beside: bool = False) -> None:
    """Write a page, whole or not at all, and say so; the note is what else is to be known of it.

    Args:
        path: the file, see `check_page`.
        html: its content.
        note: empty for none.
        beside: whether standard output holds a list for another program, and this is told on
            standard error.

    Raises:
        ArgumentError: if it cannot be written.
    """
    content = html.encode("utf-8", "replace")
    try:
        # A link stays one, and leads to the page.
        place = os.path.realpath(os.path.expanduser(path)) if storage.is_local(path) else path
        storage.write_file(place, content)
    except OSError as error:
        raise _explain(path, error) from error
    size = format_size(len(content))
    tell = warn if beside else show
    tell(f"wrote {path} ({size})", *([note] if note else []))


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
    environment.filters["short"] = short_name_of
    environment.filters["middle"] = _cut_middle
    environment.filters["breakable"] = _let_break
    environment.filters["count"] = lambda number: f"{number:,}"
    environment.filters["counted"] = counted
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


def short_name_of(uri: str) -> str:
    """Return the last two parts of a path or URI, by which people tell images apart.

    >>> short_name_of("s3://bucket/train/cat/1.jpg"), short_name_of("a.tar#cat/1.jpg")
    ('cat/1.jpg', 'a.tar#cat/1.jpg')
    >>> short_name_of("https://host/1.jpg"), short_name_of("/1.jpg")
    ('host/1.jpg', '1.jpg')
    """
    return "/".join(part for part in uri.rstrip("/").rsplit("/", 2)[-2:] if part) or uri


def _cut_middle(name: str, most: int = 22) -> str:
    """Leave out the middle of a long name: what tells it from others is often at its end.

    >>> _cut_middle("class number 1"), _cut_middle("a very long name of class number 1")
    ('class number 1', 'a very long…ss number 1')
    """
    return name if len(name) <= most else f"{name[: most // 2]}…{name[-(most // 2) :]}"


def _let_break(name: str) -> Any:
    """Let a browser break the line of a name after a slash rather than anywhere; escaped."""
    from markupsafe import Markup

    return Markup("/<wbr>").join(name.split("/"))


_FOLDER = Path(__file__).parent / "templates"


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")
