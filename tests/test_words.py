"""What the components of the deck say, slides/words/: all of it in both languages, and nothing beside it."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SLIDES = ROOT / "slides"
EN, JA = (json.loads((SLIDES / f"words/{language}.json").read_text()) for language in ("en", "ja"))
IDEAS = json.loads((SLIDES / "python/ideas.json").read_text())
FILES = [*SLIDES.rglob("*.vue"), *SLIDES.rglob("*.ts")]
SOURCES = {str(path.relative_to(SLIDES)): path.read_text() for path in FILES}
# The pages to read say some of it, too; their quotes are other ones
READING = [path for path in (ROOT / "tools/reading").iterdir() if path.suffix in {".py", ".j2"}]
SAID = [*SOURCES.values(), *(path.read_text().replace('"', "'") for path in READING)]

INNER = r"(?:[^()]|\((?:[^()]|\([^()]*\))*\))*"  # brackets within brackets
SAY = re.compile(rf"\b(?:say|words)\({INNER}\)")
QUIET = re.compile(rf"\bconsole\.\w+\({INNER}\)|//[^\n]*|/\*.*?\*/", re.S)  # for who builds it
LITERAL = re.compile(r"'(?:\\.|[^'\\\n])*'|\"(?:\\.|[^\"\\\n])*\"|`(?:\\.|[^`\\])*`")
HEARD = {"aria-label", "aria-valuetext", "title", "placeholder", "alt", "label"}  # attributes that are read

# What a template may say by itself, the same in every language: names, and code
NAMES = {
    "Colab", "DDIM", "DPM++", "Euler", "UNet", "UNet ×", "SiLU", "arXiv:", "BFL: ", "black-forest-labs/",
    "Esc", "Ctrl ⏎", "text-to-image", "image-to-image", "encode_prompt", "get_latents", "denoise", "decode",
    "add_noise", "uncond", "cond", "to_q", "to_out", "= to_k(words)", "= to_v(words)", "softmax(", "temb",
    "time_emb_proj", "conv_shortcut", "postcard.embeddings.shape", "postcard.latents.shape", "postcard.image.shape",
    "STABLE DIFFUSION · FROM CODE ·",
}  # fmt: skip
# Several words in a row that are no sentence of the deck: prompts, names, code, CSS, and what Python is told
NO_SENTENCE = {
    "painting depicting the sea, sunrise, ship", "Stable Diffusion 1.5", "Stable Diffusion 2", "next latents",
    "(orientation: portrait) and (max-width: 600px)", "(prefers-reduced-motion: reduce)", " of slide ",
    "textarea, select, input:not([type=range])", "input, textarea, select", 'import sys; sys.path.append("/lib")',
    "This is all the memory that there is for Python.", "a file did not come",
    "pre, code, svg, script, style, textarea, [contenteditable], .katex",
}  # fmt: skip
# They run when the deck is built: one stops it, one names other people's works.
BUILDS = {"setup/transformers.ts", "licences/plugin.ts"}


class Template(HTMLParser):
    """What a template says by itself: texts, attributes that are read, literals in the expressions of both"""

    def __init__(self, source):
        super().__init__()
        self.said = []
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name in HEARD:
                self.said.append(value)
            elif name.startswith(":") and name[1:] in HEARD:
                self.said += literals(value)

    def handle_data(self, data):
        for expression in re.findall(r"\{\{(.*?)\}\}", data, re.S):
            self.said += literals(expression)
        self.said.append(re.sub(r"\{\{.*?\}\}", "", data, flags=re.S).strip())


def literals(code):
    """The strings in a program, without keys of words and without what stands in ${}"""
    return [re.sub(r"\$\{.*?\}", "", text[1:-1]) for text in LITERAL.findall(SAY.sub("", QUIET.sub("", code)))]


def english(source):
    """What a file says that its catalogue should say"""
    script, _, template = source.partition("<template>")
    said = Template(template.rpartition("</template>")[0]).said
    in_template = [text for text in said if re.search("[A-Za-z]{2}", text) and text not in NAMES]
    in_script = [text for text in literals(script) if re.search("[A-Za-z]{2}[,.:;]? [A-Za-z]{2}", text)]
    return in_template + [text for text in in_script if text not in NO_SENTENCE]


def called(source):
    """The keys that are said there: by name, and by how they begin"""
    asked = " ".join(re.findall(r"\b(?:say|words)(?:\(|\[)([^,()\]]*)", source))
    return re.findall(r"'([\w-]+\.[^']+)'", asked), re.findall(r"`([\w-]+\.)\$\{[^`]+`", asked)


def values(text):
    return set(re.findall(r"\{(\w+)\}", text))


def given(call):
    """say('key', { a, b: c(d) }) -> 'key', {'a', 'b'}"""
    key, _, rest = call.partition(",")
    names, depth, first = set(), 0, False
    for part in re.findall(r"'[^']*'|`[^`]*`|\w+|[(\[{}\]),]", rest):
        if depth == 1 and first:
            names.add(part)
        depth += (part in "([{") - (part in ")]}")
        first = depth == 1 and part in "{,"
    return re.search("'(.*?)'", key)[1], names - {"}"}


def test_both_languages_say_the_same_things():
    assert list(EN) == list(JA)
    assert {key: (EN[key], JA[key]) for key in EN if values(EN[key]) != values(JA[key])} == {}


def test_everything_is_translated():
    assert [key for key in EN if EN[key] == JA[key]] == []


def test_what_is_said_has_words_and_all_words_are_said():
    names, beginnings = (set().union(*found) for found in zip(*map(called, SAID)))
    everything = "\n".join(SAID)
    assert names - set(EN) == set()
    assert beginnings == {"engine.", "idea.", "look.", "machine.", "network.", "shape."}
    assert [key for key in EN if f"'{key}'" not in everything and not key.startswith(tuple(beginnings))] == []


def test_every_idea_has_a_name_and_a_word_on_what_to_look_for():
    for group in ("idea", "look"):
        assert [key for key in EN if key.startswith(f"{group}.")] == [f"{group}.{idea['name']}" for idea in IDEAS]


def test_what_the_server_of_make_talk_tells_has_words():
    code = "".join((ROOT / f"tools/{name}.py").read_text() for name in ("live", "live_kernel"))
    states = set(re.findall(r"""\bstate(?:": |=)"(\w+)\"""", code))
    assert len(states) == 5 and {f"machine.{state}" for state in states} <= set(EN)


def test_a_sentence_is_given_its_values():
    calls = {call for source in SOURCES.values() for call in SAY.findall(source) if re.match(r"\w+\('", call)}
    wrong = {call for call in calls for key, names in [given(call)] if names != values(EN[key])}
    assert len(calls) > 200 and wrong == {"say('cross.mixes')"}  # CrossAttention.vue: its value is a formula


@pytest.mark.parametrize("name", sorted({*SOURCES} - BUILDS))
def test_no_english_is_left(name):
    assert english(SOURCES[name]) == []


@pytest.mark.parametrize("path", [path for path in READING if path.suffix == ".j2"], ids=lambda path: path.name)
def test_no_english_is_left_on_pages_to_read(path):
    said = Template(re.sub(r"\{%.*?%\}|\{\{.*?\}\}", "", path.read_text())).said
    assert [text for text in said if re.search("[A-Za-z]{2}", text)] == []


@pytest.mark.parametrize(
    "source, left",
    [
        ("<template><p>Paint</p></template>", ["Paint"]),
        ("<template><p>{{ going ? 'Stop' : say('lab.paint') }}</p></template>", ["Stop"]),
        ("""<template><i title="A prompt" :label="`Step ${i}`" class="a word" /></template>""", ["A prompt", "Step "]),
        ("const says = `Painted in ${seconds} s` // in seconds\nconsole.warn('not yet')", ["Painted in  s"]),
        ("<template><p :class=\"'of a kind'\">{{ say('lab.step', { step: at(i), steps }) }} × 4</p></template>", []),
    ],
)
def test_english_is_found(source, left):
    assert english(source) == left
