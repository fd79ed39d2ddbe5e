"""Runbooks become pages, and no document puts markup of its own into one."""

from __future__ import annotations

from pathlib import Path

import pytest

from desk.runbooks import FOLDER, render


def test_a_runbook_is_shown_with_its_parts() -> None:
    text = "## Look\n\n1. **First** `SELECT '<b>'`\n2. then\n\n| a |\n|---|\n| b |\n"

    assert str(render(text)).replace("\n", "") == (
        "<h2>Look</h2><ol><li><strong>First</strong> <code>SELECT '&lt;b&gt;'</code></li><li>then</li></ol>"
        "<table><thead><tr><th>a</th></tr></thead><tbody><tr><td>b</td></tr></tbody></table>"
    )


def test_a_link_to_another_runbook_leads_to_its_page_and_any_other_document_is_text() -> None:
    text = "[there](no-answer.md#look) [*how*](../how-to/resolve-a-case.md) [out](https://example.org/)"

    assert str(render(text)) == (
        '<p><a href="/admin/desk/runbooks/no-answer/">there</a> <em>how</em>'
        ' <a href="https://example.org/">out</a></p>\n'
    )


@pytest.mark.parametrize(
    "text",
    ["<script>alert(1)</script>", "# <img src=x onerror=alert(1)>", "[x](javascript:alert(1))", '[x](a"onclick="b)'],
)
def test_a_document_cannot_bring_markup_of_its_own(text: str) -> None:
    shown = str(render(text))

    assert not any(part in shown for part in ("<script", "<img", "<a"))


@pytest.mark.parametrize("runbook", sorted(FOLDER.glob("*.md")), ids=lambda path: path.stem)
def test_every_runbook_is_written_in_what_the_desk_can_show(runbook: Path) -> None:
    shown = str(render(runbook.read_text()))

    assert shown.startswith("<h1>")
    assert not any(line.startswith(("<p>|", "<p>#", "<p>- ", "<p>1.")) for line in shown.splitlines())
