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
# In Japanese, what follows a number or a Latin word within a phrase stays on its line: vite.config.ts. And a Greek one
UNBROKEN = re.compile(r"(?<=[\wα-ω)%>]) (?=[ぁ-ん])|(?<=\d) (?=[一-龠ァ-ヶ])", re.A)


@functools.cache
def figures():
    return json.loads((ROOT / "public/manifest.json").read_text())["figures"]


@functools.cache
def commit():
    """The one that links to the code name: vite.config.ts"""
    told = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return told.stdout.strip() or "main"


class Edition:
    """The deck in one language: what it is made of, what its pages say, and the ways between them"""

    def __init__(self, language):
        self.language, self.other = language, "ja" if language == "en" else "en"
        self.entry = ROOT / f"slides.{language}.md"
        self.words = json.loads((ROOT / f"slides/words/{language}.json").read_text())
        self.folder = "" if language == "en" else f"{language}/"  # of the built deck, of notebooks, of figures
        self.shared = "../" if self.folder else ""  # the way from there to what both languages have in common
        self.beside = self.shared or f"{self.other}/"  # and to the other language
        self.parts = Parts(self)

    def say(self, key, **values):
        """slides/words/index.ts"""
        return self.words[key].format(**values)


class Parts:
    """What Markdown is not to touch. In the text stands a token for it, until all of a page is there."""

    def __init__(self, edition):
        self.edition, self.kept, self.todo = edition, [], []

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
            [ROOT / ".venv/bin/node", HERE / "parts.mjs", self.edition.language, self.edition.shared],
            input=json.dumps([asked for _, asked in self.todo]), cwd=ROOT, capture_output=True, text=True,
        )  # fmt: skip
        if told.returncode:
            raise SystemExit(told.stderr)
        drawn = json.loads(told.stdout)
        for (place, asked), made in zip(self.todo, drawn["html"], strict=True):
            self.kept[place] = scrolling(made, self.edition.say("read.formula")) if asked.get("display") else made
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


def figure(name, edition, up="", width=None, caption=True):
    """A picture that a notebook made, with where it came from. up: the way from the page to the deck's folder"""
    made = figures()[name]
    width = width or made["width"] // 2  # files hold two pixels for each
    size = f'width="{width}" height="{round(width * made["height"] / made["width"])}"'
    still = name.replace(".", "_still.")
    unmoving = ""
    if still in figures():
        asked = "print, (prefers-reduced-motion: reduce)"
        unmoving = f'<source media="{asked}" srcset="{up}{place(still, edition)}">'
    alt = html.escape(made.get(f"alt_{edition.language}", made["alt"]))
    image = f'<img src="{up}{place(name, edition)}" alt="{alt}" {size} loading="lazy">'
    columns = "".join(f"<span>{column}</span>" for column in made.get("columns", ()))  # of a sheet: what stands where
    columns = columns and f'<span class="columns">{columns}</span>'
    below = f"<figcaption>{columns}{provenance(name, edition, up)}</figcaption>" if caption else ""
    return f"<figure><picture>{unmoving}{image}</picture>{below}</figure>"


def place(name, edition):
    """Where a figure lies, from the deck's folder: one with words is there in each language, the others once"""
    translated = f"sha256_{edition.language}" in figures()[name]
    return f"{edition.shared}{edition.folder if translated else ''}figures/{name}"


def provenance(name, edition, up=""):
    """The cell that made a figure, as a link, and its seed: slides/components/Provenance.vue"""
    made = figures()[name]
    seeds = made["seed"] if isinstance(made["seed"], list) else [made["seed"]]
    told = f" · {edition.say('provenance.seed', seed=', '.join(map(str, seeds)))}" if seeds != [None] else ""
    return f'<a href="{up}notebooks/{made["notebook"]}.html#{made["cell"]}">{made["notebook"]}</a>{told}'


def page(template, edition, path, **told):
    """A whole page, from tools/reading/TEMPLATE. path: to it, from the deck's folder"""
    made = Environment(loader=FileSystemLoader(HERE), trim_blocks=True, lstrip_blocks=True)
    told |= dict(github=GITHUB, edition=edition, say=edition.say, path=path, up="../" * path.count("/"))
    filled = edition.parts.fill(made.get_template(template).render(told))
    return UNBROKEN.sub("\N{NO-BREAK SPACE}", filled) if edition.language == "ja" else filled


def styles(dist, edition):
    """The style sheet of an edition's pages: the deck's, its fonts where the build has put them"""
    built = "".join(path.read_text() for path in sorted((dist / edition.folder / "assets").glob("*.css")))
    fonts = "\n".join(dict.fromkeys(re.findall(r"@font-face ?\{[^}]*\}", built)))
    fonts = re.sub(r"url\((?!data:)[\"']?(?:\./)?", lambda url: f"{url[0]}assets/", fonts)
    katex = (ROOT / "node_modules/katex/dist/katex.min.css").read_text()
    deck = [STYLES / "tokens.css", STYLES / "deck.css", ROOT / f"slides/{edition.language}/styles/type.css"]
    own = [path.read_text() for path in [*deck, HERE / "page.css"] if path.exists()]
    return "\n".join([fonts, re.sub(r"@font-face\{[^}]*\}", "", katex), *own])
