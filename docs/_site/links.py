"""Links that lead somewhere in the repository, and nowhere on the site."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.pages import Page

_LINK = re.compile(r"\[(?P<text>[^\[\]]*)\]\((?P<target>[^()\s#:]+)\)")


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, **_: Any) -> str:
    """The page with links to folders and examples led to their pages, others out of it undone."""
    docs = Path(config.docs_dir).resolve()
    here = (docs / page.file.src_uri).parent
    examples = docs.parent / "examples"

    def link(found: re.Match[str]) -> str:
        target = (here / found["target"]).resolve()
        if target.parent == examples:
            to = docs / "how-to" / "examples" / f"{target.stem}.md"
            return f"[{found['text']}]({Path(os.path.relpath(to, here)).as_posix()})"
        if not target.is_relative_to(docs):
            return found["text"]
        if target.is_dir():
            return f"[{found['text']}]({found['target'].rstrip('/')}/index.md)"
        return found[0]

    return _LINK.sub(link, markdown)
