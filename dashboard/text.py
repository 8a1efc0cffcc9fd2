"""Texts that several pages show, times as text, and text from outside made safe to show."""

import os
import re
from collections.abc import Sequence

from analytics.results.videos import UNKNOWN_VIDEO_ADVICE
from fer_models.errors import FervidError

DISCLAIMER = "Labels describe how a face looks to a model trained on seven categories, not what a person feels."
NOTICE_TITLE = "Before you use this on people."
NOTICE = (
    "Reading emotions from faces is regulated: in the European Union the AI Act "
    "(Regulation (EU) 2024/1689, Article 5) prohibits it at work and in education, except for medical or safety "
    "reasons, and Article 50 requires you to inform the people concerned. You are responsible for their consent and "
    "for the conclusions you draw."
)
SHORT_NOTICE = "Emotion recognition is regulated (EU AI Act, Articles 5 and 50): consent and conclusions are yours."
NO_FINISHED_VIDEO = "There are no finished videos yet."
NO_MATCHING_VIDEO = "No video passes the filters."
OPEN_VIDEO_HINT = "Click one to open its timeline."
_PUNCTUATION = re.compile(r"([\\`*_{}\[\]()#+\-.!|~<>$:&@^=\"'])")


def plain(text: object) -> str:
    r"""Escape text so that Streamlit shows it unchanged, even if it looks like Markdown, a formula or an icon.

    >>> print(plain("![a](http://b) $x$ :red[c]"))
    \!\[a\]\(http\:\/\/b\) \$x\$ \:red\[c\]
    """
    return _PUNCTUATION.sub(r"\\\1", str(text)).replace("/", r"\/").replace("\n", "  \n")


def error_text(error: FervidError) -> str:
    """The message of an error in a file of the user; advice on an unknown video is that for the dashboard."""
    return plain(str(error).replace(UNKNOWN_VIDEO_ADVICE, "see page Library"))


def error_with_commands(error: FervidError) -> str:
    r"""The message of an error; the commands that it advises are shown as code.

    >>> print(error_with_commands(FervidError("a_b is damaged: `fervid analyze a_b` recreates it")))
    a\_b is damaged\: `fervid analyze a_b` recreates it
    """
    parts = re.split(r"(`fervid [^`]*`)", str(error))
    return "".join(part if part.startswith("`fervid ") else plain(part) for part in parts)


def without_common_folder(paths: Sequence[str]) -> list[str]:
    """The paths without the folders that all of them begin with.

    >>> without_common_folder(["/films/a/1.mp4", "/films/b/2.mp4"])
    ['a/1.mp4', 'b/2.mp4']
    """
    # The paths may be those of another operating system, so `os.path.commonpath` cannot be used.
    common = os.path.commonprefix(list(paths))  # noqa: RUF071
    start = max(common.rfind("/"), common.rfind("\\")) + 1
    return [path[start:] for path in paths]


def shortened(name: str, length: int = 18) -> str:
    """A name without its middle, if it is longer than `length` characters.

    >>> shortened("interviews_of_2024/participant_17", 20)
    'interviews…cipant_17'
    """
    half = length // 2
    return name if len(name) <= length else f"{name[:half]}…{name[half + 1 - length :]}"


def percent(share: float, digits: int = 0) -> str:
    r"""A share in percent, with a space that breaks no line.

    >>> percent(0.634), percent(0.0123, 1)
    ('63\xa0%', '1.2\xa0%')
    """
    return f"{100 * share:.{digits}f}\N{NO-BREAK SPACE}%"


def clock(time_s: float) -> str:
    """A time as `04:12.4`, with hours from one hour on.

    >>> clock(252.37), clock(3661)
    ('04:12.4', '1:01:01.0')
    """
    tenths = round(10 * time_s)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest / 10:04.1f}" if hours else f"{minutes:02}:{rest / 10:04.1f}"
