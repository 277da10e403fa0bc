"""A piece of a training document: its text, whether special strings in it are control tokens, and its loss weight."""

from typing import NamedTuple

BOS = "<｜begin▁of▁sentence｜>"
EOS = "<｜end▁of▁sentence｜>"
PAD = "<｜▁pad▁｜>"
USER = "<｜User｜>"
ASSISTANT = "<｜Assistant｜>"
THINK = "<think>"
END_THINK = "</think>"
DSML = "｜DSML｜"
REMINDER = "<｜latest_reminder｜>"

# The position in this list is the token's id.
SPECIAL_STRINGS = [
    BOS, EOS, PAD, USER, ASSISTANT, THINK, END_THINK, DSML, REMINDER,
    "<｜action｜>", "<｜query｜>", "<｜authority｜>", "<｜domain｜>", "<｜title｜>", "<｜extracted_url｜>", "<｜read_url｜>",
]

FULL = 8  # loss weights are in units of 1/8
LIGHT = 1
NONE = 0


class Segment(NamedTuple):
    text: str
    trusted: bool  # special strings become special tokens; elsewhere they are plain text
    weight: int  # 0..8: loss weight of predicting this segment's tokens


def plain_document(text: str, weight: int = FULL, finished: bool = True) -> list[Segment]:
    """A text without turns: BOS, the text, and EOS when the text is complete."""
    segments = [Segment(BOS, True, NONE), Segment(text, False, weight)]
    if finished:
        segments.append(Segment(EOS, True, weight))
    return segments
