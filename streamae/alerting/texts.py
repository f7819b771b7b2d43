"""Keys, names and values as people may see them: whatever they hold, they stay one line of plain text.

They come from whoever can write into an input topic. Must not know: where the text goes.
"""

from __future__ import annotations

import re

# Controls, line and paragraph separators, marks that turn the direction of writing or take no room, halves of pairs,
# and what Unicode keeps for itself.
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufdd0-\ufdef\ufeff\ufff9-\ufffb\ufffe\uffff]"
)
_SPACES = re.compile(r" {2,}")
_NO_ROOM = "\u200b"  # splits what a chat would take for a mention or a link
_LOOKALIKES = str.maketrans({"<": "\u2039", ">": "\u203a"})


def one_line(text: str, limit: int) -> str:
    r"""Return `text` as one line of at most `limit` characters: what cannot be printed becomes a space.

    Example:
        >>> one_line("pump 7\r\nBcc: all@example.org", 80)
        'pump 7 Bcc: all@example.org'
        >>> one_line("a long key", 6)
        'a lon…'
    """
    text = _SPACES.sub(" ", _UNPRINTABLE.sub(" ", text[: 4 * limit])).strip()
    return text if len(text) <= limit else text[: max(limit - 1, 0)] + "…"


def inert(text: str, limit: int) -> str:
    r"""Return `text` as `one_line`, such that no chat or mail program makes more of it than text.

    Angle brackets become their look-alikes, so that there is neither markup nor `<!channel>`; behind `@`, `://` and
    between `](` stands a character without width, so that nobody is called and nothing becomes a link.

    Example:
        >>> inert("<!channel> @everyone", 80)
        '‹!channel› @\u200beveryone'
    """
    text = one_line(text, limit).translate(_LOOKALIKES)
    for whole, split in (("@", "@" + _NO_ROOM), ("://", ":" + _NO_ROOM + "//"), ("](", "]" + _NO_ROOM + "(")):
        text = text.replace(whole, split)
    return text
