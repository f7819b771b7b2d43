"""Text from outside, made fit for labels: bounded, valid, without control characters, and still told apart.

Must not know: what the text stands for, or how a receiver escapes it.
"""

from __future__ import annotations

import hashlib
import re

LONGEST = 1_024
DIGITS = 16
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufdd0-\ufdef\ufffe\uffff\ud800-\udfff]")


def label_value(text: str, salt: str = "", longest: int = LONGEST) -> str:
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


def plain(text: str, longest: int) -> str:
    """Return `text` for a line that people read: fit, and cut with an ellipsis.

    Example:
        >>> plain("one two three", 8)
        'one two…'
    """
    fit = _UNFIT.sub("\ufffd", text)
    return fit if len(fit) <= longest else f"{fit[: longest - 1]}…"
