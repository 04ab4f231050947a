"""The deck in one column: what each slide shows, as after its last click, and what the speaker says."""

import html
import re
from typing import NamedTuple

import yaml

from notes import for_readers
from sources import INCLUDE, ROOT, SLIDE, pages

from .page import GITHUB, code, commit, figure, figures, provenance, scrolling

# Parts that move or compute on their slides, and a figure of a notebook that shows the same standing still
STILLS = {
    "GuidanceSlider": "guidance_sheet.webp",
    "Lab": "",
    "PromptWalk": "text_walk.webp",
    "SchedulerRace": "race.webp",
    "Scrubber": "denoise_strip.webp",
    "ShapeLedger": "unet_ledger.png",
    "StepByStep": "ddim_terms.png",
    "TokenStrip": "tokens.png",
    "TrainToy": "",
    "WithoutScheduler": "",
    "WordAttention": "attention_words.webp",
}
ALIVE = '<p class="alive">{}</p>'
AT = '<p class="at">{}</p>'

NOTE = re.compile(r"<!--(.*?)-->", re.S)
# What is of the slide alone: its styles, the places of its columns, the frame of code that turns into other code
LAYOUT = re.compile(r"<style>.*?</style>|^::\w+::$|^````[^\n]*$| v-click(?:=\"[^\"]*\")?", re.M | re.S)
TAG = re.compile(r"""<([A-Z]\w+)((?:\s+[^\s=/>]+(?:="[^"]*")?)*)\s*/>""")
ATTRIBUTE = re.compile(r'([^\s=]+)="([^"]*)"')
SAID = re.compile(r"'((?:[^'\\]|\\.)*)'")
ARXIV = re.compile(r"\barXiv:(\d{4}\.\d{5})")


class Slide(NamedTuple):
    no: int
    title: str
    chapter: str  # where one begins: its name
    opens: bool  # whether it is that chapter's title
    step: int | None  # of the four, which gives it a colour
    picture: str  # that stands on its title
    shown: str
    said: str


def settings_of(edition):
    return yaml.safe_load(edition.entry.read_text().split("---\n")[1])


def slides(edition):
    """Every slide of the deck, in order"""
    no = 0
    for path in pages(edition.entry):
        for place, (head, text) in enumerate(SLIDE.findall(path.read_text())):
            no += 1
            head = yaml.safe_load(head) or {}
            opens = head.get("layout") in ("cover", "chapter")
            title = head.get("title") or re.search(r"^# (.*)", text, re.M)[1]
            chapter = title if opens else head["kicker"] if place == 0 else ""
            shown = Shown(text, no, title, edition)
            picture = postcard(head["figure"], edition) if opens else ""
            made = shown.html()
            said = say(NOTE.search(text)[1], head.get("clicks", 0), shown.explained, edition)
            yield Slide(no, title, chapter, opens, head.get("step"), picture, made, said)


def postcard(name, edition):
    """A picture with what it was painted from"""
    made = figures()[name]
    told = f"“{html.escape(made['prompt'])}”, {provenance(name, edition)}"
    return f'<div class="postcard">{figure(name, edition, width=400, caption=False)}{AT.format(told)}</div>'


def say(note, clicks, told, edition):
    """What the speaker says, as HTML"""
    made = []
    for part in for_readers(note, clicks, told):
        text = part if isinstance(part, str) else "\n".join(f"1. {item}" for item in part)
        made.append(edition.parts.text(ARXIV.sub(r"[arXiv:\1](https://arxiv.org/abs/\1)", text)))
    return "".join(made)


class Shown:
    """One slide as HTML. What is lit click by click becomes marks in the code, and what is said of it a list."""

    def __init__(self, text, no, title, edition):
        self.text = re.sub(r"^# .*", "", LAYOUT.sub("", NOTE.sub("", text)), count=1, flags=re.M)
        self.moves = "magic-move" in text  # code that turns into other code: a click for each
        self.no, self.title, self.edition, self.parts = no, title, edition, edition.parts
        self.click = self.blocks = 0
        self.marks = {}  # {click: number of its mark}
        self.explained = False

    def html(self):
        lines = []
        for line in self.text.splitlines():
            code = INCLUDE.fullmatch(line)
            lines.append(self.parts.keep(self.code(*code.groups(default=""))) if code else TAG.sub(self.part, line))
        made = self.parts.text("\n".join(lines), heading=2).replace('href="#/', 'href="./#/')
        return re.sub(r"<table.*?</table>", lambda table: scrolling(table[0], self.title), made, flags=re.S)

    def code(self, path, anchor, language, lights):
        source = cut((ROOT / path.removeprefix("@/")).read_text(), anchor.removeprefix("#"))[0]
        steps = re.match(r"\{(?!\w+:)([^}]*)\}", lights)
        marks, lit = {}, []
        for i, step in enumerate(steps[1].split("|") if steps else ["all"]):
            self.click += i > 0 or (self.moves and self.blocks > 0)
            if step == "all":
                continue
            lines = find(source, step)
            if not self.click:
                lit = lines
            elif lines[0] not in marks:
                self.marks[self.click] = marks[lines[0]] = len(self.marks) + 1
        self.blocks += 1
        cell = re.fullmatch(r"@/embed/(\w+)/(\w+)\.py", path)
        return code(source, language, marks, lit) + (AT.format(link(*cell.groups())) if cell else "")

    def part(self, tag):
        """A component, by its tag"""
        name, told = tag[1], dict(ATTRIBUTE.findall(tag[2]))
        if name == "Figure":
            return self.parts.keep(figure(told["name"], self.edition, width=int(told.get(":width", 0))))
        if name == "Provenance":
            known = self.text.count(f'name="{told["name"]}"') > 1 or any(f"<{still} " in self.text for still in STILLS)
            return "" if known else self.parts.keep(AT.format(provenance(told["name"], self.edition)))
        if name == "Source":
            self.explained |= bool(self.marks)
            said = SAID.findall(told.get(":say", ""))
            return self.parts.keep(source_line(self.marks, told["at"], told.get("notebook"), said))
        if name in STILLS:
            still = figure(STILLS[name], self.edition) if STILLS[name] else ""
            return self.parts.keep(still + ALIVE.format(self.alive(name)))
        drawn = self.parts.component(tag[0])
        if tag[0] != tag.string.strip():  # in a sentence
            return drawn
        return self.parts.keep(drawn if name == "Paper" else scrolling(drawn, self.title))

    def alive(self, name):
        """Where it can be tried, as a sentence"""
        say = self.edition.say
        if name == "Lab":
            return say("read.paints", lab=f'<a href="./#/lab">{say("read.lab")}</a>')
        return say("read.moves", there=f'<a href="./#/{self.no}">{say("read.there")}</a>')


def link(notebook, cell=""):
    """To the notebook as a page"""
    return f'<a href="notebooks/{notebook}.html{cell and f"#{cell}"}">{notebook}</a>'


def source_line(marks, at, notebook, say):
    """Below code: what it does, what its marks are at, and where it was cut from: slides/components/Source.vue"""
    path, _, region = at.partition("#")
    _, first, last = cut((ROOT / "src/sdscope" / path).read_text(), region)
    where = f'<a href="{GITHUB}/blob/{commit()}/src/sdscope/{path}#L{first}-L{last}">{at}</a>'
    where += f" · {link(notebook)}" if notebook else ""
    general = "".join(f"<p>{text}</p>" for click, text in enumerate(say) if text and click not in marks)
    items = [re.sub(r"^\d\. ", "", text) for click, text in enumerate(say) if click in marks]
    listed = f'<ol class="marks">{"".join(f"<li>{item}</li>" for item in items)}</ol>' if items else ""
    return AT.format(where) + general + listed


def cut(source, region):
    """(a region's lines, the first one's number, the last one's); all of it where none is named"""
    lines = source.splitlines()
    if not region:
        return source, 1, len(lines)
    begin, end = (
        next(i for i, line in enumerate(lines) if line.strip() == f"# {mark} {region}")
        for mark in ("region", "endregion")
    )
    inside = [line for line in lines[begin + 1 : end] if not re.match(r"\s*# (?:end)?region\b", line)]
    margin = min(len(line) - len(line.lstrip()) for line in inside if line.strip())
    return "\n".join(line[margin:] for line in inside), begin + 2, end


def find(source, lights):
    """Numbers of the lines that a light is on, as slides/setup/transformers.ts finds them: /text/, or /from/-/to/"""
    lines, found = source.splitlines(), []
    for begin, end in re.findall(r"/([^/]+)/(?:-/([^/]+)/)?", lights):
        having = [i for i, line in enumerate(lines, 1) if begin in line]
        if end:
            last = next(i for i, line in enumerate(lines, 1) if i >= having[0] and end in line)
            having = list(range(having[0], last + 1))
        found += having
    return found
