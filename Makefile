# make talk           the deck, served at http://localhost:3030, in Japanese at /ja/ (another port: make talk PORT=3031)
# make build          the deck, in both languages, as static files in dist/, for any host under any path
# make slides         the slides while they are edited: what is saved is seen; on the figures that are there
# make slides-ja      the same in Japanese
# make pdf            the deck as .build/slides.pdf and .build/slides.ja.pdf, each slide after its last click;
#                     make pdf NOTES=1: after each slide what the speaker says, .build/slides.notes.pdf
# make handout        the deck to read, with what the speaker says, as .build/handout.pdf and .build/handout.ja.pdf
# make figures        the notebooks: figures into public/, excerpts into embed/
# make check          the notebooks again: do they give the same?
# make test           everything: the package, the notebooks, the deck in a real browser
# make quick          of these, what needs no notebook to have run, no deck and no browser: some minutes
# make lint           how the Python is written, and what it says of its types: some seconds
# make parity         what the Japanese deck still owes the English one, slide by slide
# make engines        the deck, the Lab and live code in Chromium, Firefox and WebKitGTK
# make bench          how fast, beside diffusers and in a browser: docs/speed.md
# make shots          a picture of every slide at every click, in .build/shots/
# make contact-sheet  all slides on one sheet, .build/contact-sheet.png
# make looks          the slides as they should look, for the tests (look at them first)
# make ideas          what the ideas for changes of the code paint, docs/ideas.webp
# make recording      the Lab, its canvas and live code at work, docs/lab.webp, docs/canvas.webp and docs/code.webp
# make sources        where everything on the slides comes from, .build/sources.md
# make newest         the notebooks on the newest versions that pyproject.toml allows
# make lowest         the notebooks on the lowest
# make audit          is anything that is installed known to be unsafe? This asks the network
# make lock           requirements.lock anew: the hashes of what is installed. This asks the network
# make address        one address and one version, everywhere: make address REPO=owner/name VERSION=1.2.3
# make clean          removes what was made; .venv/ and node_modules/ stay
#
# Needed: Python 3.11, 3.12 or 3.13 and make. The rest is installed here, in .venv/ and node_modules/.
# What is up to date is not made again.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: talk slides slides-ja build pdf handout figures check test quick lint parity engines bench shots contact-sheet looks ideas recording sources newest lowest audit lock \
        address clean help figures-there

PORT ?= 3030
FITS   := import ensurepip, sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do $$p -c "$(FITS)" 2>/dev/null && echo $$p && break; done)

PACKAGE   := $(shell find src/sdscope -type f -not -path '*/__pycache__/*' -not -name '*.md')
NOTEBOOKS := $(wildcard notebooks/*.ipynb)
SHORT     := $(wildcard notebooks/03_* notebooks/08_* notebooks/1[01]_*)# each takes a minute
READ      := $(shell find tools/read.py tools/reading tools/notes.py tools/sources.py notebooks/ja -type f -not -path '*/__pycache__/*')
DECK      := slides.en.md slides.ja.md vite.config.ts public/favicon.svg $(shell find slides -type f -not -name README.md)

# What stands for each part being done.
INSTALLED := .venv/.installed
NODE      := .venv/bin/node
MODULES   := node_modules/.package-lock.json
FIGURES   := .build/figures
MODEL     := public/model/model.json
BUILT     := dist/index.html

fits = '$(PYTHON)' -c "$(FITS)" 2>/dev/null || { \
  echo "Needed: Python 3.11, 3.12 or 3.13 with its venv module. Name one: make talk PYTHON=/path/to/python3"; exit 2; }
say = @printf '\n== %s\n' "$(strip $(1))"

help:
	@sed -n 's/^# //p; /^$$/q' Makefile

talk: $(BUILT)
	@.venv/bin/python tools/serve.py dist --port $(PORT)

# Neither runs a notebook nor builds.
slides slides-ja: figures-there $(MODULES) | $(NODE)
	@! (: </dev/tcp/localhost/$(PORT)) 2>/dev/null || { \
	  echo "Port $(PORT) is in use. Stop what listens there, or take another: make $@ PORT=$$(($(PORT) + 1))"; exit 2; }
	@PATH="$(CURDIR)/.venv/bin:$$PATH" node node_modules/.bin/slidev slides.$(if $(filter slides-ja,$@),ja,en).md --port $(PORT)

figures-there:
	@[ -f public/manifest.json ] && compgen -G 'embed/*/' >/dev/null || { \
	  echo "The slides have no figures yet. \`make figures\` makes them (some minutes); then again: make slides"; exit 2; }

build: $(BUILT)
	@echo "dist/ is up to date: $$(du -sh dist | cut -f1)"

test: lint $(BUILT)
	$(call say,A browser)
	@.venv/bin/python tools/browser.py
	$(call say,The short notebooks once more: the same figures and numbers? (make check asks all of them))
	@.venv/bin/python -m pytest --nbmake -n logical $(SHORT)
	$(call say,The package)
	@.venv/bin/python -m pytest -n logical tests --ignore=tests/browser
	$(call say,The deck in a browser)
	@.venv/bin/python -m pytest -n logical --dist loadfile tests/browser

quick: lint
	@.venv/bin/python -m pytest -n logical tests --ignore=tests/browser

lint: $(INSTALLED)
	@.venv/bin/ruff check --quiet
	@.venv/bin/ruff format --check --quiet
	@.venv/bin/mypy

parity: $(INSTALLED)
	@.venv/bin/python tools/parity.py

figures: $(FIGURES)

check: $(FIGURES)
	@.venv/bin/sdscope check

engines: $(BUILT)
	@.venv/bin/python tools/browser.py > /dev/null
	@.venv/bin/python tools/engines.py

bench: $(INSTALLED) $(MODULES)
	@.venv/bin/python tools/bench.py

pdf: $(BUILT)
	@.venv/bin/python tools/browser.py > /dev/null
	@.venv/bin/python tools/pdf.py $(if $(NOTES),--notes)

handout: $(BUILT)
	@.venv/bin/python tools/browser.py > /dev/null
	@.venv/bin/python tools/handout.py

shots: $(BUILT)
	@.venv/bin/python tools/shots.py

contact-sheet: $(BUILT)
	@.venv/bin/python tools/shots.py --last --sheet .build/contact-sheet.png

looks: $(BUILT)
	@.venv/bin/python tests/browser/test_looks.py

ideas: $(INSTALLED)
	@.venv/bin/python tests/test_small_torch.py

recording: $(BUILT)
	@.venv/bin/python tools/recording.py

sources: $(FIGURES)
	@.venv/bin/python tools/sources.py

# Each in a place of its own, made anew: nothing that is installed here decides.
newest lowest:
	$(call say,The notebooks on the $@ versions that pyproject.toml allows)
	@$(fits)
	@'$(PYTHON)' -m venv --clear .build/$@
	@.build/$@/bin/python tools/lowest.py > .build/lowest.txt
	@.build/$@/bin/pip install --disable-pip-version-check -e '.[notebooks]' nbmake pytest pytest-xdist \
	  $(if $(filter lowest,$@),-c .build/lowest.txt)
	@.build/$@/bin/python -m pytest --nbmake -n logical notebooks

audit:
	$(call say,What is known to be unsafe)
	@$(fits)
	@'$(PYTHON)' -m venv --clear .build/audit
	@.build/audit/bin/pip install --disable-pip-version-check --quiet pip-audit==2.10.1
	@.build/audit/bin/pip-audit --disable-pip --requirement requirements.lock
	@.build/audit/bin/pip-audit --disable-pip --no-deps --requirement requirements.txt  # for torch, which the lock leaves out
	@PATH="$(CURDIR)/.venv/bin:$$PATH" npm audit --audit-level=high

# For every machine and every Python. Without torch, of which each machine takes a build of its own.
lock:
	$(call say,The hashes of what is installed)
	@$(fits)
	@'$(PYTHON)' -m venv --clear .build/hashes
	@.build/hashes/bin/pip install --disable-pip-version-check --quiet uv==0.13.9
	@echo torch > .build/hashes/excludes.txt
	@for name in requirements tools/node; do \
	  .build/hashes/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
	    --custom-compile-command 'make lock' --excludes .build/hashes/excludes.txt $$name.txt --output-file $$name.lock; done

address: $(INSTALLED)
	@.venv/bin/python tools/address.py "$${REPO-}" "$${VERSION-}"

clean:
	rm -rf dist .build public/{figures,ja,model,manifest.json,facts.json} embed/*/

# What the lock has comes with its hashes; after that torch is missing, and no more.
$(INSTALLED): requirements.txt requirements.lock pyproject.toml src/sdscope/version.py
	$(call say,Python packages into .venv/ (some minutes the first time))
	@[ -x .venv/bin/python ] || $(fits)
	@[ -x .venv/bin/python ] || '$(PYTHON)' -m venv .venv
	@.venv/bin/pip install --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	@.venv/bin/pip install --disable-pip-version-check -r requirements.txt
	@.venv/bin/pip install --disable-pip-version-check --no-deps --quiet -e .
	@touch $@

$(NODE): tools/node.sh tools/node.lock | $(INSTALLED)
	@tools/node.sh

$(MODULES): package-lock.json | $(NODE)
	$(call say,The deck's packages into node_modules/ (about a minute))
	@PATH="$(CURDIR)/.venv/bin:$$PATH" PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1 npm ci --no-audit --no-fund --loglevel=error
	@touch $@

$(FIGURES): $(PACKAGE) $(NOTEBOOKS) $(INSTALLED)
	$(call say,The notebooks: figures into public/ and excerpts into embed/)
	@.venv/bin/sdscope figures
	@mkdir -p $(@D) && touch $@

$(MODEL): $(PACKAGE) $(INSTALLED)
	$(call say,The model for the browser: public/model/)
	@.venv/bin/sdscope export-web -o $(@D)

# Built beside its place, so that dist/ is never half a deck. Japanese comes last, into a folder of the English one: vite.config.ts
$(BUILT): $(DECK) $(READ) $(FIGURES) $(MODEL) $(MODULES) | $(NODE)
	$(call say,The deck: static files into dist/)
	@PATH="$(CURDIR)/.venv/bin:$$PATH" node node_modules/.bin/slidev build slides.en.md --base ./ --out .build/dist
	@PATH="$(CURDIR)/.venv/bin:$$PATH" node node_modules/.bin/slidev build slides.ja.md --base ./ --out .build/dist/ja
	@.venv/bin/python tools/read.py .build/dist
	@rm -rf dist .build/dist/{,ja/}_redirects .build/dist/README.md && mv .build/dist dist
	@touch $@
