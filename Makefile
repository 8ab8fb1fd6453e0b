# make run    set up, build, boot a microVM, run a command in it
# make test   set up, check, run every tier that this machine can run
.DEFAULT_GOAL := build
.DELETE_ON_ERROR:

GO      ?= go
BIN     := bin
PREFIX  ?= /usr/local
ARGS    ?= vm run --rm -- uname -a
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS := -s -w -X banger/internal/api.version=$(VERSION)
# Two cores are what CI has, and more would not make emulated guests faster.
export GOFLAGS := -p=2
export CGO_ENABLED ?= 0

.PHONY: run test check build bench coverage install setup setup-test clean

run: setup build
	@$(BIN)/banger $(ARGS)

test: setup-test build
	@$(GO) run ./test/summary

# Formatting, vet, staticcheck, known vulnerabilities, layout, scripts.
check: build
	@scripts/check

build:
	@mkdir -p $(BIN)
	@$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/ ./cmd/...

bench: setup build
	@$(GO) run ./test/bench

# Statement coverage of the tiers that need no guest.
coverage: build
	@mkdir -p coverage
	@$(GO) test -coverprofile=coverage/unit.out -coverpkg=./internal/... ./internal/... ./cmd/...
	@$(GO) tool cover -func=coverage/unit.out | tail -1

install: build
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/libexec/banger
	install -m 755 $(BIN)/banger $(DESTDIR)$(PREFIX)/bin/banger
	install -m 755 $(BIN)/bangerd $(BIN)/banger-agent $(DESTDIR)$(PREFIX)/libexec/banger/

setup:
	@scripts/setup run

setup-test:
	@scripts/setup test

clean:
	rm -rf $(BIN) build coverage
