"""Self-contained HTML pages: the look that reports share, light and dark, and the blocks they are made of."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

STYLE: Final = """
:root { --ink: #16202e; --soft: #5b6778; --line: #dfe4eb; --back: #f5f7fa; --card: #ffffff;
  --good: #0a8f63; --bad: #d33131; --warm: #b26a00; color-scheme: light dark; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6ebf3; --soft: #98a4b6; --line: #2b3546;
  --back: #0e131b; --card: #161d28; --good: #35c793; --bad: #ff6b6b; --warm: #f0b14a; } }
* { box-sizing: border-box; }
body { margin: 0; padding: 2rem clamp(1rem, 4vw, 3rem) 4rem; background: var(--back); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1180px; margin: 0 auto; }
header { display: flex; flex-wrap: wrap; align-items: baseline; gap: .4rem 1.2rem; margin-bottom: 1.4rem; }
h1 { font-size: 1.6rem; margin: 0; letter-spacing: -.01em; }
h2 { font-size: 1.05rem; margin: 0 0 .2rem; }
p.about, p.note { color: var(--soft); margin: 0 0 .6rem; }
.verdict { font-weight: 600; padding: .1rem .7rem; border-radius: 99px; border: 1.5px solid currentColor; }
.good { color: var(--good); } .bad { color: var(--bad); } .warm { color: var(--warm); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: .8rem;
  margin-bottom: 1rem; }
.tile, section { background: var(--card); border: 1px solid var(--line); border-radius: 12px; }
.tile { padding: .8rem 1rem; } .tile b { display: block; font-size: 1.5rem; line-height: 1.25;
  font-variant-numeric: tabular-nums; } .tile span { color: var(--soft); font-size: .82rem; }
section { padding: 1rem 1.2rem; margin-bottom: 1rem; overflow-x: auto; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(380px, 1fr)); gap: 1rem; }
.pair section { margin-bottom: 0; } .pair { margin-bottom: 1rem; }
svg { width: 100%; height: auto; min-width: 320px; display: block; }
svg text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, sans-serif !important; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { text-align: left; padding: .28rem .8rem .28rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; } th { color: var(--soft); font-weight: 500; }
td.key { color: var(--soft); white-space: nowrap; width: 1%; }
.sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(128px, 1fr)); gap: .5rem; }
figure { margin: 0; } figure img { width: 100%; display: block; border-radius: 6px; }
figcaption { color: var(--soft); font-size: .75rem; font-variant-numeric: tabular-nums; }
"""


def page(title: str, body: Iterable[str]) -> str:
    """Return a whole page from its blocks; it loads nothing from anywhere."""
    blocks = "\n".join(body)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>\n'
        f"<body><main>\n{blocks}\n</main></body></html>\n"
    )


def header(title: str, about: str, verdict: str, tone: str) -> str:
    """Return the page's head line; tone is good, warm or bad."""
    return (
        f'<header><h1>{escape(title)}</h1><span class="verdict {tone}">{escape(verdict)}</span>'
        f'<p class="about">{escape(about)}</p></header>'
    )


def tiles(values: Iterable[tuple[str, str, str]]) -> str:
    """Return a row of figures from (value, what it is, tone)."""
    inner = "".join(
        f'<div class="tile"><b class="{tone}">{escape(value)}</b><span>{escape(what)}</span></div>'
        for value, what, tone in values
    )
    return f'<div class="tiles">{inner}</div>'


def section(title: str, content: str, note: str = "") -> str:
    """Return a titled block around finished HTML."""
    about = f'<p class="note">{escape(note)}</p>' if note else ""
    return f"<section><h2>{escape(title)}</h2>{about}{content}</section>"


def pair(blocks: Iterable[str]) -> str:
    """Return blocks side by side where the window is wide enough."""
    return f'<div class="pair">{"".join(blocks)}</div>'


def table(rows: Iterable[Sequence[str]], head: Sequence[str] = ()) -> str:
    """Return a table; the first cell of a row is its key."""
    top = "<tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in head) + "</tr>" if head else ""
    body = "".join(
        f'<tr><td class="key">{escape(row[0])}</td>' + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:]) + "</tr>"
        for row in rows
    )
    return f"<table>{top}{body}</table>"


def contact_sheet(images: Iterable[tuple[bytes, str]]) -> str:
    """Return a grid of JPEGs with captions."""
    cells = "".join(
        f'<figure><img alt="{escape(caption)}" src="data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
        for jpeg, caption in images
    )
    return f'<div class="sheet">{cells}</div>'
