SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
.PHONY: help run test lint bench metrics-check deb clean

CARGO ?= cargo
# Where metrics-check finds a gate's metrics.
METRICS ?= http://127.0.0.1:9090/metrics
# Programs that were fetched for this folder.
export PATH := $(CURDIR)/target/tools/bin:$(PATH)

help: ## show this
	@sed -n 's/^\([a-z-]*\):.*## /make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

run: ## build, and run a gate with a mock channel behind it on 127.0.0.1:8080
	@.ci/tools cmake
	exec $(CARGO) run --release --locked -- demo --config conf/demo.yaml

test: ## run all tests; with CI=true, what cannot be tried is a failure
	@.ci/tools cmake
	if ! .ci/tools python litellm node parsers curl prometheus systemd postgres pgbouncer browser; then
	  if [ "$${CI:-}" = true ]; then exit 1; fi
	  echo "== what is missing is skipped: see the lines that begin with SKIPPED" >&2
	fi
	# Also what only other platforms build: licences are checked of all of it.
	if [ "$${CI:-}" = true ]; then $(CARGO) fetch --locked; fi
	eval "$$(.ci/tools env)"
	$(CARGO) test --locked --no-fail-fast

lint: ## check format, lints and documentation
	@.ci/tools cmake
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked --lib --no-default-features -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --no-deps

bench: ## measure the scanner, the gate against a bare Pingora, and ledgers that are full
	@.ci/tools cmake
	if ! .ci/tools postgres; then
	  echo "== PostgreSQL is not measured" >&2
	fi
	eval "$$(.ci/tools env)"
	$(CARGO) bench --locked

metrics-check: ## let promtool judge the metrics of a gate that runs
	@.ci/tools curl promtool
	curl -fsS $(METRICS) | promtool check metrics
	echo "$(METRICS): in order"

deb: ## make a Debian package in target/debian
	@.ci/tools cmake
	if ! command -v cargo-deb >/dev/null; then
	  echo "== cargo-deb makes the package: cargo install --locked cargo-deb" >&2
	  exit 1
	fi
	$(CARGO) deb --locked

clean: ## remove what was built and installed in this folder
	$(CARGO) clean
	rm -rf .venv node_modules
