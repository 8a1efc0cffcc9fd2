"""The Jinja environment of the report, and the macros that Python code uses."""

from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from analytics.report.words import NO_LABEL, clock, percent, share_words
from fer_models.labels import EMOTION_COLORS, EMOTIONS

TEMPLATES = Path(__file__).parent / "templates"


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES, encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "share_words": share_words, "thousands": "{:,}".format}
    environment.globals |= {"emotions": EMOTIONS, "no_label": NO_LABEL, "clock": clock}
    return environment


ENVIRONMENT = _environment()


def render(template: str, **values: object) -> str:
    """Render a template of the folder `templates`; values are escaped unless they are markup."""
    return ENVIRONMENT.get_template(template).render(values)


def macro(name: str, *values: object) -> Markup:
    """The markup that a macro of `macros.html` gives."""
    made: Markup = getattr(ENVIRONMENT.get_template("macros.html").module, name)(*values)
    return made


def share_bar(shares: Mapping[str, float]) -> Markup:
    """Shares that sum to 1 as one bar; empty if there are none."""
    return macro("share_bar", shares)


def isolated(name: str) -> Markup:
    """Mark up a file name so that its writing direction does not affect the text around it."""
    return Markup("<bdi>{}</bdi>").format(name)


def page_style() -> Markup:
    """The style sheet, with a class for the color of each emotion, as fill of SVG and background of HTML."""
    colors = "".join(f".e-{name}{{fill:{color};background:{color}}}" for name, color in EMOTION_COLORS.items())
    return Markup((TEMPLATES / "style.css").read_text(encoding="utf-8") + colors)
