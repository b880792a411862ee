"""Texts as the token numbers of CLIP, without torch: byte pairs that were merged by frequency.

Sennrich et al., "Neural Machine Translation of Rare Words with Subword Units", ACL 2016, as CLIP
uses it. Texts are not repaired where their encoding was broken before, and signs that Unicode
calls numbers but nobody counts with (such as fractions) count as letters; all else is the same.
"""

from __future__ import annotations

import gzip
import html
import re
import zlib
from itertools import pairwise
from typing import TYPE_CHECKING

from crosscam_kernels.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

_MERGES = 49152 - 256 - 2  # of CLIP's vocabulary, less bytes and the two marks
_MOST_BYTES = 8 << 20
_PIECES = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[^\W\d_]+|\d|(?:[^\w\s]|_)+", re.IGNORECASE)
_END = "</w>"


def _signs() -> list[str]:
    """Return a printable sign for each byte, in the order of CLIP's vocabulary, and which byte."""
    shown = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return [chr(each) for each in shown] + [chr(256 + n) for n in range(256 - len(shown))]


def _sign_of_byte() -> dict[int, str]:
    shown = {ord(each): each for each in _signs() if ord(each) < 256}
    hidden = [each for each in range(256) if each not in shown]
    return {**shown, **{each: chr(256 + n) for n, each in enumerate(hidden)}}


class Words:
    """Turns texts into numbers.

    Args:
        merges: File of CLIP's merges, gzip.
        context: Longest text, start and end included.

    Raises:
        InputError: It is no such file.
    """

    def __init__(self, merges: Path, context: int) -> None:
        try:
            with gzip.open(merges) as file:
                lines = file.read(_MOST_BYTES).decode("utf-8").split("\n")[1 : _MERGES + 1]
        except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
            raise _damaged(merges) from error
        pairs = [tuple(line.split()) for line in lines]
        if len(pairs) != _MERGES or any(len(pair) != 2 for pair in pairs):
            raise _damaged(merges)
        signs = _signs()
        vocabulary = [*signs, *(sign + _END for sign in signs), *map("".join, pairs)]
        self._number = {piece: number for number, piece in enumerate(vocabulary)}
        self._rank = {pair: rank for rank, pair in enumerate(pairs)}
        self._bytes = _sign_of_byte()
        self._start, self._stop = len(vocabulary), len(vocabulary) + 1
        self._context = context

    def numbers(self, text: str) -> list[int]:
        """Return the numbers of a text, start and end included, and zeros up to `context`.

        Raises:
            InputError: It is too long.
        """
        plain = " ".join(html.unescape(html.unescape(text)).split()).lower()
        found = [self._start]
        for piece in _PIECES.findall(plain):
            signs = [self._bytes[each] for each in piece.encode("utf-8", errors="replace")]
            found += [self._number[each] for each in self._merged(signs)]
        found.append(self._stop)
        if len(found) > self._context:
            raise InputError(
                f"the text has {len(found) - 2} tokens",
                expected=f"{self._context - 2} at most: about so many words",
                fix="say it in fewer words",
            )
        return found + [0] * (self._context - len(found))

    def _merged(self, signs: list[str]) -> list[str]:
        """Return the pieces of a word: the pair that was merged first is merged first again."""
        word = [*signs[:-1], signs[-1] + _END]
        while len(word) > 1:
            pairs = [*pairwise(word)]
            best = min(pairs, key=lambda pair: self._rank.get(pair, len(self._rank)))
            if best not in self._rank:
                break
            joined: list[str] = []
            at = 0
            while at < len(word):
                here = tuple(word[at : at + 2]) == best
                joined.append("".join(best) if here else word[at])
                at += 2 if here else 1
            word = joined
        return word


def _damaged(merges: Path) -> InputError:
    return InputError(
        f"{merges.name} holds no merges of CLIP",
        expected=f"{_MERGES} pairs, gzip",
        fix="export the model again",
    )
