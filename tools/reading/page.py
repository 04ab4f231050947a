"""What both kinds of pages are made of: text, formulas, code, figures, and the frame around them."""

import functools
import html
import json
import re
import subprocess

from jinja2 import Environment, FileSystemLoader
from markdown_it import MarkdownIt
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name

from address import repository
from sources import ROOT

PLAIN = re.compile(r'<span class="(?:[npw]">(.*?)|o">(\.))</span>')  # parts of code that have no colour
HERE, STYLES = ROOT / "tools/reading", ROOT / "slides/styles"
GITHUB = f"https://github.com/{repository()}"
MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable("table")
FORMULA = re.compile(r"`[^`]*`|(?P<display>\$\$(.+?)\$\$)|(?<![\\\w$])\$(?=\S)([^$\n]+?)(?<=\S)\$(?!\w)", re.S)
TOKEN = re.compile("<p>\ue000(\\d+)\ue002</p>|\ue000(\\d+)[\ue001\ue002]")


@functools.cache
def figures():
    return json.loads((ROOT / "public/manifest.json").read_text())["figures"]


@functools.cache
def commit():
    """The one that links to the code name: vite.config.ts"""
    told = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return told.stdout.strip() or "main"


class Parts:
    """What Markdown is not to touch. In the text stands a token for it, until all of a page is there."""

    def __init__(self):
        self.kept, self.todo = [], []

    def keep(self, made):
        """A block of HTML"""
        self.kept.append(made)
        return f"\n\n\ue000{len(self.kept) - 1}\ue002\n\n"

    def component(self, tag):
        """A tag of the deck's own, to be drawn"""
        return self.ask({"component": tag}, "\ue000{}\ue001")

    def formula(self, match):
        if match[0].startswith("`"):
            return match[0]
        asked = {"formula": match[2] or match[3], "display": bool(match["display"])}
        return self.ask(asked, "\n\n\ue000{}\ue002\n\n" if match["display"] else "\ue000{}\ue001")

    def ask(self, asked, token):
        self.todo.append((len(self.kept), asked))
        self.kept.append("")
        return token.format(len(self.kept) - 1)

    def draw(self):
        """All that was asked for, by one call; -> the styles that drawings bring"""
        told = subprocess.run(
            [ROOT / ".venv/bin/node", HERE / "parts.mjs"],
            input=json.dumps([asked for _, asked in self.todo]), cwd=ROOT, capture_output=True, text=True,
        )  # fmt: skip
        if told.returncode:
            raise SystemExit(told.stderr)
        drawn = json.loads(told.stdout)
        for (place, asked), made in zip(self.todo, drawn["html"], strict=True):
            self.kept[place] = scrolling(made, "Formula") if asked.get("display") else made
        return drawn["css"]

    def fill(self, text):
        return TOKEN.sub(lambda match: self.fill(self.kept[int(match[1] or match[2])]), text)

    def text(self, source, heading=0):
        """Markdown as HTML; headings are `heading` levels lower than they say"""
        tokens = MARKDOWN.parse(FORMULA.sub(self.formula, source))
        for token in tokens:
            if token.type.startswith("heading"):
                token.tag = f"h{int(token.tag[1]) + heading}"
        return MARKDOWN.renderer.render(tokens, MARKDOWN.options, {})


def scrolling(made, label):
    """What may be wider than a phone, reached by keyboard too"""
    return f'<div class="scroll" tabindex="0" role="group" aria-label="{html.escape(label)}">{made}</div>'


def code(source, language, marks=None, lit=()):
    """Coloured, scrolled where it is too wide. marks: {line: number that stands before it}; lit: lines"""
    lexer = get_lexer_by_name(language, stripnl=False)
    coloured = PLAIN.sub(r"\1\2", highlight(source, lexer, HtmlFormatter(nowrap=True)))
    lines = coloured.rstrip("\n").split("\n")
    for line in lit:
        lines[line - 1] = f"<mark>{lines[line - 1]}</mark>"
    for line, number in (marks or {}).items():
        lines[line - 1] = f'<b class="mark" aria-hidden="true">{number}</b>{lines[line - 1]}'
    kind = f"{language} marked" if marks else language
    return f'<pre class="{kind}" tabindex="0"><code>{chr(10).join(lines)}</code></pre>'


def figure(name, up="", width=None, caption=True):
    """A picture that a notebook made, with where it came from. up: the way from the page to the deck's folder"""
    made = figures()[name]
    width = width or made["width"] // 2  # files hold two pixels for each
    size = f'width="{width}" height="{round(width * made["height"] / made["width"])}"'
    still = name.replace(".", "_still.")
    unmoving = ""
    if still in figures():
        asked = "print, (prefers-reduced-motion: reduce)"
        unmoving = f'<source media="{asked}" srcset="{up}figures/{still}">'
    alt = html.escape(made["alt"])
    image = f'<img src="{up}figures/{name}" alt="{alt}" {size} loading="lazy">'
    columns = "".join(f"<span>{column}</span>" for column in made.get("columns", ()))  # of a sheet: what stands where
    columns = columns and f'<span class="columns">{columns}</span>'
    below = f"<figcaption>{columns}{provenance(name, up)}</figcaption>" if caption else ""
    return f"<figure><picture>{unmoving}{image}</picture>{below}</figure>"


def provenance(name, up=""):
    """The cell that made a figure, as a link, and its seed: slides/components/Provenance.vue"""
    made = figures()[name]
    seed = made["seed"]
    told = f" · seed {', '.join(map(str, seed)) if isinstance(seed, list) else seed}" if seed is not None else ""
    return f'<a href="{up}notebooks/{made["notebook"]}.html#{made["cell"]}">{made["notebook"]}</a>{told}'


def page(template, **told):
    """A whole page, from tools/reading/TEMPLATE"""
    made = Environment(loader=FileSystemLoader(HERE), trim_blocks=True, lstrip_blocks=True)
    return made.get_template(template).render(github=GITHUB, **told)


def styles(dist):
    """The pages' style sheet: the deck's, its fonts where the build has put them"""
    built = "".join(path.read_text() for path in sorted((dist / "assets").glob("*.css")))
    fonts = "\n".join(dict.fromkeys(re.findall(r"@font-face ?\{[^}]*\}", built)))
    fonts = re.sub(r"url\((?!data:)[\"']?(?:\./)?", lambda url: f"{url[0]}assets/", fonts)
    katex = (ROOT / "node_modules/katex/dist/katex.min.css").read_text()
    own = [path.read_text() for path in (STYLES / "tokens.css", STYLES / "deck.css", HERE / "page.css")]
    return "\n".join([fonts, re.sub(r"@font-face\{[^}]*\}", "", katex), *own])
