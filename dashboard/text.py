"""Texts that several pages show, times as text, and text from outside made safe to show."""

import re

DISCLAIMER = "Labels describe how a face looks to a model trained on seven categories, not what a person feels."
NOTICE_TITLE = "Before you use this on people."
NOTICE = (
    "Reading emotions from faces is regulated: in the European Union the AI Act "
    "(Regulation (EU) 2024/1689, Article 5) prohibits it at work and in education, except for medical or safety "
    "reasons, and Article 50 requires you to inform the people concerned. You are responsible for their consent and "
    "for the conclusions you draw."
)
SHORT_NOTICE = "Emotion recognition is regulated (EU AI Act, Articles 5 and 50): consent and conclusions are yours."
_PUNCTUATION = re.compile(r"([\\`*_{}\[\]()#+\-.!|~<>$:&@^=\"'])")


def plain(text: object) -> str:
    r"""Text that Streamlit shows as it is, whatever Markdown, formulas or icons it seems to contain.

    >>> print(plain("![a](http://b) $x$ :red[c]"))
    \!\[a\]\(http\:\/\/b\) \$x\$ \:red\[c\]
    """
    return _PUNCTUATION.sub(r"\\\1", str(text)).replace("/", r"\/").replace("\n", "  \n")


def clock(time_s: float) -> str:
    """A time as `04:12.4`, with hours from one hour on.

    >>> clock(252.37), clock(3661)
    ('04:12.4', '1:01:01.0')
    """
    tenths = round(10 * time_s)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest / 10:04.1f}" if hours else f"{minutes:02}:{rest / 10:04.1f}"
