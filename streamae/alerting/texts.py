"""Keys, names and values, whatever they hold: as labels they stay apart, before people one line of plain text.

They come from whoever can write into an input topic. Must not know: where the text goes.
"""

from __future__ import annotations

import hashlib
import re

LONGEST_LABEL = 1_024
DIGITS = 16
# What no label may hold: controls, separators of lines and paragraphs, marks that turn the direction of writing, halves
# of pairs, and what Unicode keeps for itself. Labels are identity: a character more here is another alert.
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufdd0-\ufdef\ufffe\uffff\ud800-\udfff]")
# Before people also what takes no room.
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufdd0-\ufdef\ufeff\ufff9-\ufffb\ufffe\uffff]"
)
_SPACES = re.compile(r" {2,}")
_NO_ROOM = "\u200b"  # splits what a chat would take for a mention or a link
_LOOKALIKES = str.maketrans({"<": "\u2039", ">": "\u203a"})


def label_value(text: str, salt: str = "", longest: int = LONGEST_LABEL) -> str:
    """Return `text` as it is where it is short and harmless, else a fit one that ends in a hash of the whole.

    Args:
        text: any.
        salt: what else tells it from others; "" = nothing.
        longest: characters of the answer, more than 17.

    Example:
        >>> label_value("machine-006"), label_value("a" * 40, longest=20)
        ('machine-006', 'aaa~91f4cc3478dc5718')
    """
    fit = _UNFIT.sub("\ufffd", text)
    if fit == text and len(fit) <= longest and not salt:
        return fit
    digest = hashlib.sha256(f"{salt}\n{text}".encode(errors="surrogatepass")).hexdigest()[:DIGITS]
    return f"{fit[: longest - DIGITS - 1]}~{digest}"


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
