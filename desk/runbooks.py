"""The runbooks at the desk: what to do about a failure group, one click away from its cases."""

from __future__ import annotations

import re
from pathlib import Path

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt

from desk.pages import desk_page, show

# They come with the product, beside its code.
FOLDER = Path(settings.BASE_DIR) / "docs" / "runbooks"
_HEADING = re.compile(r"\A# (.+)\n")
_ANOTHER = re.compile(r"(?P<name>[a-z0-9-]+)\.md(?:#.*)?")


@desk_page("sagas.view_case")
def runbook(request: HttpRequest, name: str) -> HttpResponse:
    """Show a runbook as the desk's own page."""
    file = FOLDER / f"{name}.md"
    if not file.is_file():
        raise Http404(f"there is no runbook {name!r}")
    text = file.read_text(encoding="utf-8")
    heading = _HEADING.match(text)
    return show(
        request,
        "desk/runbook.html",
        title=f"Runbook: {heading[1] if heading else name}",
        text=render(_HEADING.sub("", text)),
        file=f"docs/runbooks/{name}.md",
    )


def render(text: str) -> SafeString:
    """Return a document as HTML. It cannot put markup of its own into the page: that shows as it was typed."""
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = markdown.parse(text)
    target: str | None = None
    for child in (child for token in tokens for child in token.children or ()):
        if child.type == "link_open":
            target = _link(str(child.attrGet("href")))
            child.attrSet("href", target or "")
        if child.type in ("link_open", "link_close"):
            # What leads nowhere is text.
            child.hidden = target is None
    # The renderer escapes every text.
    html: str = markdown.renderer.render(tokens, markdown.options, {})
    return mark_safe(html)  # noqa: S308 # nosec B308 B703


def _link(target: str) -> str | None:
    """Lead to the desk's page of another runbook; the other documents are not at the desk."""
    if target.startswith(("http://", "https://")):
        return target
    found = _ANOTHER.fullmatch(target)
    return reverse("desk:runbook", args=[found["name"]]) if found else None
