"""One HTML page of the host that needs nothing else: no network, no script, no font.

Each drawing stands in it twice, for a wide and for a narrow window, and once more as a table, for
those who would rather read.  With a *live* token the page also fetches itself anew.
"""

from __future__ import annotations

from newroot.observe.drawing import COLOURS, MONO, NARROW, SANS, WIDE, Drawing, style
from newroot.observe.timeline import _text
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Draw = Callable[[int], Drawing]


@record
class Table:
    """The same as a drawing says, in words."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@record
class Figure:
    """One drawing, and the words around it."""

    name: str  #: what ``--svg`` calls it
    draw: Draw
    caption: str = ""
    table: Table | None = None


@record
class Section:
    """A heading and what stands below it."""

    id: str
    title: str
    intro: str = ""
    figures: tuple[Figure, ...] = ()
    folds: tuple[Fold, ...] = ()


@record
class Fold:
    """A part that opens and closes: one container."""

    title: str
    about: str
    figures: tuple[Figure, ...] = ()
    open: bool = False


@record
class Page:
    """All that is on the page."""

    title: str
    about: str
    facts: tuple[tuple[str, str], ...]  #: number, what it counts
    sections: tuple[Section, ...]
    notes: tuple[str, ...] = ()


_CSS = """\
:root{color-scheme:light dark;%(light)s}
@media (prefers-color-scheme:dark){:root{%(dark)s}}
*{box-sizing:border-box}
html{scroll-behavior:smooth;scroll-padding-top:4rem}
@media (prefers-reduced-motion:reduce){html{scroll-behavior:auto}}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 %(sans)s;
  -webkit-text-size-adjust:100%%}
.page{max-width:1164px;margin:0 auto;padding:0 2rem}
header{padding:3rem 0 1.6rem}
h1{font-size:clamp(1.7rem,1.2rem + 2.4vw,2.5rem);line-height:1.15;margin:0 0 .5rem;
  letter-spacing:-.02em;font-weight:650;overflow-wrap:anywhere}
h2{font-size:1.35rem;line-height:1.25;margin:0 0 .35rem;letter-spacing:-.01em;font-weight:620}
header p,.intro{margin:0;color:var(--quiet);max-width:46rem;overflow-wrap:anywhere}
.facts{display:flex;flex-wrap:wrap;gap:.75rem 2.75rem;margin:1.8rem 0 0;padding:0;list-style:none}
.facts b{display:block;font-size:1.7rem;line-height:1.15;font-weight:620;
  font-variant-numeric:tabular-nums;letter-spacing:-.02em}
.facts span{color:var(--quiet);font-size:.875rem}
nav{position:sticky;top:0;background:var(--paper);border-bottom:1px solid var(--faint);z-index:1}
nav ul{display:flex;gap:.25rem 1.6rem;margin:0 auto;list-style:none;overflow-x:auto}
nav a{display:block;padding:.8rem 0;color:var(--quiet);text-decoration:none;white-space:nowrap;
  font-size:.9375rem}
nav a:hover{color:var(--ink)}
a:focus-visible,summary:focus-visible,[tabindex]:focus-visible{outline:2px solid var(--own);
  outline-offset:3px;border-radius:4px}
section{padding:2.6rem 0 1rem}
figure{margin:1.4rem 0 0}
figcaption{color:var(--quiet);font-size:.875rem;margin:.5rem 0 0}
svg{display:block;width:100%%;height:auto;overflow:visible}
svg.narrow{display:none}
h3{font-size:1rem;margin:2rem 0 0;font-weight:620}
details{margin:1rem 0 0}
.fold{border:1px solid var(--faint);border-radius:10px;margin:1rem 0 0}
.fold>summary{padding:.85rem 1.1rem;cursor:pointer;display:flex;gap:.2rem .9rem;flex-wrap:wrap;
  align-items:baseline;list-style:none;overflow-wrap:anywhere}
.fold>summary::-webkit-details-marker{display:none}
.fold>summary::before{content:"";width:.45rem;height:.45rem;border:solid var(--quiet);
  border-width:0 2px 2px 0;transform:rotate(-45deg) translate(-.1rem,-.1rem);flex:none}
.fold[open]>summary::before{transform:rotate(45deg) translate(-.1rem,-.1rem)}
.fold>summary b{font-weight:620}
.fold>summary span{color:var(--quiet);font-size:.9375rem}
.fold>div{padding:0 1.1rem 1.3rem}
.words>summary{color:var(--quiet);font-size:.875rem;cursor:pointer;width:max-content}
.words>div{overflow-x:auto;margin:.6rem 0 0}
table{border-collapse:collapse;font-size:.8125rem;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:.3rem 1.4rem .3rem 0;border-bottom:1px solid var(--faint);
  vertical-align:top;white-space:nowrap}
td{font-family:%(mono)s}
th{color:var(--quiet);font-weight:500}
footer{color:var(--quiet);font-size:.875rem;border-top:1px solid var(--faint);margin:2.5rem 0 0;
  padding:1.2rem 0 3rem}
footer p{margin:.2rem 0}
@media (max-width:719px){
  .page{padding:0 1rem}
  header{padding-top:1.8rem}
  svg.wide{display:none}
  svg.narrow{display:block}
  .fold>div{padding:0 .6rem 1rem}
  .facts{gap:.75rem 1.8rem}
}
@media print{nav{display:none}.fold>div{display:block}}
"""

#: Fetches the page anew and puts what changed in its place; what is open stays open.
_LIVE = """\
const every=%d;
async function look(){
  try{
    const answer=await fetch(location.pathname,{credentials:'same-origin'});
    if(answer.ok){
      const fresh=new DOMParser().parseFromString(await answer.text(),'text/html');
      const now=document.querySelector('main'),next=fresh.querySelector('main');
      const open=new Map([...now.querySelectorAll('details')].map(d=>[d.id,d.open]));
      const at=document.activeElement&&document.activeElement.id;
      for(const d of next.querySelectorAll('details'))if(open.has(d.id))d.open=open.get(d.id);
      if(now.innerHTML!==next.innerHTML){
        now.replaceWith(next);
        const again=at&&document.getElementById(at);
        if(again)again.focus({preventScroll:true});
      }
      document.querySelector('header').replaceWith(fresh.querySelector('header'));
    }
  }catch(error){document.title='(not answered) '+document.title.replace('(not answered) ','');}
  setTimeout(look,every);
}
setTimeout(look,every);
"""


def render(page: Page, *, live_ms: int = 0, nonce: str = "") -> str:
    """The page as HTML; with *live_ms* it fetches itself anew so often."""
    script = f'<script nonce="{nonce}">{_LIVE % live_ms}</script>' if live_ms else ""
    allowed = f"script-src 'nonce-{nonce}'; connect-src 'self'; " if live_ms else ""
    policy = (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; {allowed}base-uri 'none'"
    )
    links = "".join(f'<li><a href="#{s.id}">{_text(s.title)}</a></li>' for s in page.sections)
    facts = "".join(f"<li><b>{_text(n)}</b><span>{_text(w)}</span></li>" for n, w in page.facts)
    sections = "\n".join(part for section in page.sections for part in _section(section))
    notes = "".join(f"<p>{_text(note)}</p>" for note in page.notes)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="referrer" content="no-referrer">
<link rel="icon" href="data:,">
<title>{_text(page.title)}</title>
<style>
{_css()}{style("svg ")}
</style>
</head>
<body>
<div class="page"><header><h1>{_text(page.title)}</h1><p>{_text(page.about)}</p>
<ul class="facts">{facts}</ul></header></div>
<nav aria-label="Sections"><ul class="page">{links}</ul></nav>
<main class="page">
{sections}
</main>
<div class="page"><footer>{notes}</footer></div>
{script}</body>
</html>
"""


def _css() -> str:
    light, dark = (
        "".join(f"--{name}:{pair[which]};" for name, pair in COLOURS.items()) for which in (0, 1)
    )
    return _CSS % {"light": light, "dark": dark, "mono": MONO, "sans": SANS}


def _section(section: Section) -> Iterator[str]:
    yield f'<section id="{section.id}" aria-labelledby="{section.id}-title">'
    yield f'<h2 id="{section.id}-title">{_text(section.title)}</h2>'
    if section.intro:
        yield f'<p class="intro">{_text(section.intro)}</p>'
    for number, figure in enumerate(section.figures):
        yield from _figure(figure, f"{section.id}-{number}")
    for number, fold in enumerate(section.folds):
        yield from _fold(fold, f"{section.id}-fold-{number}")
    yield "</section>"


def _fold(fold: Fold, id: str) -> Iterator[str]:
    yield f'<details class="fold" id="{id}"{" open" if fold.open else ""}>'
    yield f'<summary id="{id}-name"><b>{_text(fold.title)}</b>'
    yield f"<span>{_text(fold.about)}</span></summary>"
    yield "<div>"
    for number, figure in enumerate(fold.figures):
        yield f"<h3>{_text(figure.caption)}</h3>"
        yield from _figure(figure, f"{id}-{number}", captioned=True)
    yield "</div></details>"


def _figure(figure: Figure, id: str, *, captioned: bool = False) -> Iterator[str]:
    yield "<figure>"
    yield figure.draw(WIDE).svg(alone=False)
    yield figure.draw(NARROW).svg(alone=False)
    if figure.caption and not captioned:
        yield f"<figcaption>{_text(figure.caption)}</figcaption>"
    if figure.table is not None:
        yield from _table(figure.table, id)
    yield "</figure>"


def _table(table: Table, id: str) -> Iterator[str]:
    yield f'<details class="words" id="{id}-words"><summary id="{id}-say">As a table</summary>'
    yield '<div tabindex="0" role="region" aria-label="The same as a table"><table><thead><tr>'
    yield "".join(f'<th scope="col">{_text(word)}</th>' for word in table.headings)
    yield "</tr></thead><tbody>"
    for row in table.rows:
        yield "<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>"
    yield "</tbody></table></div></details>"


def drawings(page: Page) -> dict[str, Draw]:
    """Every drawing of the page by the name that ``--svg`` takes."""
    found: dict[str, Draw] = {}
    for section in page.sections:
        folds: Sequence[Figure] = [figure for fold in section.folds for figure in fold.figures]
        for figure in (*section.figures, *folds):
            found.setdefault(figure.name, figure.draw)
    return found
