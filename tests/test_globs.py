"""What patterns match."""

from __future__ import annotations

import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beamvec.transforms.files.globs import compile_glob


@pytest.mark.parametrize(
    ("pattern", "matched", "not_matched"),
    [
        ("/a/*.jpg", ["/a/b.jpg", "/a/.jpg", "/a/b\\c.jpg", "/a/b\nc.jpg"], ["/a/b/c.jpg"]),
        ("/a/**/*.jpg", ["/a/b.jpg", "/a/b/c.jpg", "/a/b/c/d.jpg"], ["/ab.jpg", "/a/b.png"]),
        ("/a/**/b/**/c", ["/a/b/c", "/a/x/b/y/c"], ["/a/xb/c", "/ab/c"]),
        ("**/c", ["c", "a/c"], ["ac"]),
        ("/a/**", ["/a/b", "/a/b/c", "/a/"], ["/a", "/ab"]),
        ("/a**c", ["/ac", "/a/b/c"], ["/a/b"]),
        ("/a?", ["/ab", "/a?"], ["/a/", "/a"]),
        ("/[a-c]", ["/a", "/c"], ["/d", "/-"]),
        ("/[!a]", ["/b", "/]"], ["/a", "//"]),
        ("/[]a]", ["/]", "/a"], ["/b"]),
        ("/[^a]", ["/^", "/a"], ["/b"]),
        ("/[\\]", ["/\\"], ["/b"]),
        ("/[*][[]", ["/*["], ["/a["]),
        ("/[z-a]", [], ["/z", "/a", "/b"]),
        ("/[", ["/["], ["/a"]),
        ("/a.(b)+", ["/a.(b)+"], ["/ax(b)+"]),
    ],
)
def test_a_pattern_matches_what_it_says_and_nothing_else(pattern, matched, not_matched):
    is_match = compile_glob(pattern).fullmatch
    assert [name for name in [*matched, *not_matched] if is_match(name)] == matched


@given(st.text("ab*?[]!^\\.", max_size=8), st.text("ab!^\\.[]", max_size=6))
def test_within_a_folder_patterns_mean_what_they_mean_in_python(pattern, name):
    if "**" not in pattern:
        expected = fnmatch.fnmatchcase(name, pattern)
        assert bool(compile_glob(pattern).fullmatch(name)) == expected
