# Every target does all of its own set-up on a fresh Debian or Ubuntu machine that has Rust:
# scripts/setup.sh installs what it names if it is missing.
#
#   make demo    a real cluster and slotway before it, until Ctrl-C
#   make test    every check: format, clippy, documentation, all tests
#   make lint    format and clippy alone
#   make bench   slotway beside other proxies; the report goes to target/bench (ARGS=--help)
#   make soak    the tests that take long

CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
# Where rustup puts cargo; a shell that is no login shell may not know it.
export PATH := $(PATH):$(HOME)/.cargo/bin

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench soak

help:
	@sed -n '4,8s/^# *//p' Makefile

demo:
	@scripts/setup.sh cc redis-server
	@$(CARGO) build -p slotway -p testbed --bins
	@exec $(TARGET)/debug/demo

# A failed test shows the logs of its cluster and its proxy (SLOTWAY_TEST_LOGS); the harness keeps
# them from everybody else. The programs that tests start are built by `cargo test --workspace`
# itself, before the first test runs; a `cargo build` before it would compile half of the
# dependencies twice, because tests ask for more of their features.
test: lint
	@scripts/setup.sh redis-server
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps
	SLOTWAY_TEST_LOGS=1 $(CARGO) test --workspace
	@echo "make test: format, clippy, documentation and all tests are in order."

lint:
	@scripts/setup.sh cc rustfmt clippy
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings

bench:
	@scripts/setup.sh cc redis-server nutcracker haproxy
	$(CARGO) build --release --workspace --bins
	$(TARGET)/release/bench $(ARGS)

# Tests that take long carry #[ignore = "soak: …"]; with a profile of their own, as they load the proxy.
soak:
	@scripts/setup.sh cc redis-server
	$(CARGO) build --profile soak --workspace --bins
	$(CARGO) test --profile soak --workspace --tests --no-run
	@count=$$($(CARGO) test --profile soak --workspace --tests -- --ignored --list 2>/dev/null | grep -c ': test$$'); \
	if [ "$$count" = 0 ]; then echo "make soak: there are no long runs yet."; exit 0; fi; \
	echo "make soak: $$count long runs."; \
	SLOTWAY_TEST_LOGS=1 $(CARGO) test --profile soak --workspace --tests --no-fail-fast -- --ignored --nocapture --test-threads 1
