"""The settings of silence: after how much of the stream's own time a key that says nothing is an event.

Must not know: other sections.
"""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from streamae.settings.section import Millis, Name, Section

Gaps = Annotated[float, Field(gt=1.0)]


class SilenceOverrideSettings(Section):
    """What is different for some keys."""

    keys: Name = Field(description="Pattern of the keys: * = any text, ? = a character, [ab] = one of them.")
    after_ms: Millis | None = Field(None, description="As `silence.after_ms`.")
    after_gaps: Gaps | None = Field(None, description="As `silence.after_gaps`.")
    off: bool = Field(default=False, description="Nobody waits for these keys.")

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        if (self.after_ms is not None) + (self.after_gaps is not None) + self.off != 1:
            raise ValueError("needs one of after_ms, after_gaps and off")
        return self


class SilenceSettings(Section):
    """When a key that says nothing is an event; off unless one of `after_ms`, `after_gaps` and `overrides` is set."""

    after_ms: Millis | None = Field(None, description="Time of its partition's stream after which a key is silent.")
    after_gaps: Gaps | None = Field(
        None, description="Instead: multiple of the key's own usual gap after which it is; known from 8 gaps on."
    )
    overrides: tuple[SilenceOverrideSettings, ...] = Field(
        (),
        description="Tables of `keys` and one of `after_ms`, `after_gaps`, `off`; the first whose pattern matches a key"
        " counts.",
    )
    max_step_ms: Millis | None = Field(
        None,
        description="Most that one step of the stream counts: a pause of a whole partition is nobody's silence. Unset ="
        " the usual step of the training data.",
    )
    raster_ms: Millis = Field(1_000, description="Time of the stream between two looks at who is silent.")
    forget_ms: Millis = Field(
        2_592_000_000, description="Time of the stream after which a silent key is given up, and its state deleted."
    )

    @property
    def is_on(self) -> bool:
        """Whether the silence of any key is an event."""
        asked = (self.after_ms, self.after_gaps, *(each for each in self.overrides if not each.off))
        return any(one is not None for one in asked)

    def conflicts(self) -> list[str]:
        """Return what no single field can see, one line each."""
        limits = [one for one in (self.after_ms, *(each.after_ms for each in self.overrides)) if one is not None]
        checks = [
            (
                self.after_ms is not None and self.after_gaps is not None,
                "silence.after_gaps: not beside silence.after_ms: one of them says when a key is silent",
            ),
            (
                self.max_step_ms is not None and any(one <= self.max_step_ms for one in limits),
                "silence.max_step_ms: must be below every after_ms, or a pause of the whole partition is a silence",
            ),
            (
                any(one >= self.forget_ms for one in limits),
                "silence.forget_ms: must be above every after_ms: who is forgotten cannot fall silent",
            ),
        ]
        return [line for is_wrong, line in checks if is_wrong]
