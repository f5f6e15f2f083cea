# A thin front: what is built and how stands in CMakePresets.json, and the scripts in tools/ do the rest.
# `make help` lists the targets.

SHELL := /bin/bash
PREFIX ?= /usr/local
SECONDS ?= 60
JOBS ?= $(shell nproc)
PROGRAMS := blockexportd blockexport

export CMAKE_BUILD_PARALLEL_LEVEL := $(JOBS)

.DEFAULT_GOAL := build
.PHONY: help setup build serve test lint format checked asan tsan fuzz qcow2-evidence mutants bench profile bare docs
.PHONY: install uninstall package image-file manual bare-packages clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

setup: ## Install from Debian what building and testing need (does nothing when all is there)
	tools/setup.sh build test sanitize lint

# The tests are left out of a build tree that is new, and stay in one that has them: `make test` puts them in.
build: ## Build the daemon and the client tool: build/blockexportd, build/blockexport
	tools/setup.sh build
	test -e build/build.ninja || cmake --preset programs
	cmake --build --preset release --target $(PROGRAMS)

serve: build ## Export IMAGE=file (or a demo image) over NBD; SOCKET=path PORT=number EXPORT=name WRITABLE=on|off
	@tools/setup.sh clients || echo 'serve: going on without these clients'
	@tools/serve.sh build/blockexportd

test: ## Build everything and run the whole test suite
	tools/setup.sh build test
	cmake --workflow --preset release

lint: ## Check layers, names, sizes, formatting, and run clang-tidy
	tools/setup.sh build test lint
	tools/lint.sh

format: ## Rewrite the sources as .clang-format asks
	tools/lint.sh --fix

checked: ## Run the suite in a build that is optimised and has assertions
	tools/setup.sh build test
	cmake --workflow --preset checked

asan: ## Run the suite under AddressSanitizer and UndefinedBehaviorSanitizer
	tools/setup.sh build test sanitize
	cmake --workflow --preset asan

tsan: ## Run the suite under ThreadSanitizer
	tools/setup.sh build test sanitize
	cmake --workflow --preset tsan

fuzz: ## Run every fuzz target for SECONDS (60) each
	tools/setup.sh build sanitize
	cmake --preset fuzz
	cmake --build --preset fuzz
	tools/fuzz.sh build-fuzz $(SECONDS)

qcow2-evidence: ## Repeat the evidence for qcow2 images of docs/qcow2.md, in hours; QUICK=1: in minutes, ROWS='...'
	tools/setup.sh build test sanitize
	cmake --preset release
	cmake --build --preset release
	cmake --preset fuzz
	cmake --build build-fuzz --target fuzz_qcow2_format fuzz_qcow2_image fuzz_qcow2_check
	tools/qcow2_evidence.py $(if $(QUICK),--quick) $(ROWS)

mutants: ## Put small faults into the code, one at a time, and tell which of them the tests miss
	tools/setup.sh build test
	tests/mutants/run.py

bench: ## Measure the daemon beside its peers and write docs/benchmarks.md
	tools/setup.sh build test bench
	cmake --preset release
	cmake --build --preset release
	cmake --build --preset release --target bench

profile: ## Sample where the time goes in the main cells and write docs/profiles.md
	tools/setup.sh build test bench profile
	cmake --preset release
	cmake --build --preset release
	cmake --build --preset release --target profile

bare: ## Build, serve and test in bare Debian 12 and 13 (as root; SUITES='bookworm trixie')
	tools/setup.sh machines
	tools/bare_machine.sh $(SUITES)

bare-packages: ## Build, install and test the packages in bare Debian 12 and 13 (as root; SUITES='bookworm trixie')
	tools/setup.sh machines
	tools/bare_machine.sh --packages $(SUITES)

docs: ## Build the reference of commands, events and types
	tools/setup.sh build
	test -e build/build.ninja || cmake --preset programs
	cmake --build --preset release --target docs

manual: ## Make the manual pages and the completion of shells: build/manual
	tools/setup.sh build manual
	test -e build/build.ninja || cmake --preset programs
	cmake --build --preset release --target manual

package: ## Build the Debian packages of the work tree into build-package
	tools/setup.sh build manual package
	tools/package.sh debian

image-file: ## Build the container image of the work tree: build-package/blockexportd-image.tar
	tools/setup.sh build
	tools/package.sh image

install: build ## Install both, and the documentation, under DESTDIR and PREFIX (/usr/local)
	@tools/install.sh install '$(DESTDIR)' '$(PREFIX)'

uninstall: ## Remove what `make install` put under DESTDIR and PREFIX
	@tools/install.sh uninstall '$(DESTDIR)' '$(PREFIX)'

clean: ## Remove the build trees
	rm -rf build build-dev build-checked build-asan build-tsan build-fuzz build-mutants
