"""Secrets are kept out of what is shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beamvec.redact import redact


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://me:secret@host/m", "https://host/m"),
        ("https://host/m?token=secret#secret", "https://host/m"),
        ("(see https://host/m?token=secret).", "(see https://host/m)."),
        ("HTTPS://host/m?token=secret", "HTTPS://host/m"),
        ("'http://a:b@h/x?q' and \"http://c@h/y\"", "'http://h/x' and \"http://h/y\""),
        ("`model=https://a:b@h/x?q=1` is gone", "`model=https://h/x` is gone"),
        ("gs://bucket/a?.jpg", "gs://bucket/a?.jpg"),
        ("s3://key:secret@bucket/a", "s3://bucket/a"),
        ("a@b.c and 7 > 5?", "a@b.c and 7 > 5?"),
        ("", ""),
    ],
)
def test_user_names_passwords_and_queries_are_removed(text, shown):
    assert redact(text) == shown


secrets = st.text("abcXYZ019-_.~", min_size=8, max_size=12).map(lambda text: f"SECRET{text}")
around = st.text(st.characters(codec="ascii", exclude_characters="@"), max_size=10)


@given(around, secrets, secrets, around)
def test_no_secret_of_a_url_is_left(before, password, token, after):
    text = f"{before} https://user:{password}@host/model?token={token} {after}"
    assert "SECRET" not in redact(text)


def test_a_word_of_a_megabyte_takes_no_hours():
    word = "a" * 2_000_000
    assert redact(f"{word} https://me:secret@host") == f"{word} https://host"


@given(st.text(max_size=40))
def test_redacting_twice_changes_nothing(text):
    assert redact(redact(text)) == redact(text)
