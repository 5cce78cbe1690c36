"""The review as one HTML file: pictures, buttons and keys. It loads nothing but audio beside it, if there is some."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files

from jinja2 import Environment, StrictUndefined

from heartbeat_core.evaluation.agreement import CANNOT_TELL
from heartbeat_core.reviewing.exports import Item
from heartbeat_core.reviewing.picture import LEFT, RIGHT
from heartbeat_core.reviewing.verdicts import PAGE_KIND

TEMPLATE = "review.html.jinja"


def render_review(items: Sequence[Item], labels: Sequence[str], *, folder: str, run_id: str, review_id: str) -> bytes:
    """Return the page.

    Parameters
    ----------
    items : Sequence[Item]
    labels : Sequence[str]
        Of the model, in order: the keys 1 to 9 give the first nine.
    folder, run_id : str
        What is reviewed.
    review_id : str
        Under this name the browser keeps the verdicts until they are saved.

    Returns
    -------
    bytes
        HTML in UTF-8.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = (files("heartbeat_core.reviewing") / TEMPLATE).read_text("utf-8")
    page = environment.from_string(template).render(
        items=items,
        labels=labels,
        cannot_tell=CANNOT_TELL,
        folder=folder,
        facts={"kind": PAGE_KIND, "run_id": run_id, "review": review_id, "left": LEFT, "right": RIGHT},
        has_audio=any(item.audio for item in items),
    )
    return page.encode()
