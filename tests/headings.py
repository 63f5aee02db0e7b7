"""Headings of pages that tests write."""

from __future__ import annotations


def anchor(title: str) -> str:
    """Return the anchor that Markdown gives a heading."""
    kept = "".join(letter for letter in title.lower() if letter.isalnum() or letter in " -_")
    return "-".join(kept.split())
