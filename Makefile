# make run    set up what is missing, build, boot a microVM, run a command in it
# make test   set up what is missing, check, run every tier this machine can run
.DEFAULT_GOAL := build
.DELETE_ON_ERROR:

GO      ?= go
BIN     := bin
PREFIX  ?= /usr/local
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
# Where the test host has what is handed in, see test/smoke/testhost.
HANDED  := /handed
LDFLAGS  = -X banger/internal/api.version=$(VERSION)
# Two at once: what CI has, and emulated guests need the rest of a larger machine.
# The version is told to the linker; Go need not ask git, which refuses a tree of
# another owner.
override GOFLAGS := -p=2 -buildvcs=false $(GOFLAGS)
export GOFLAGS

# What `make run` types: any banger command line. It is handed to the shell as
# it is written, dollar signs included.
# This repository goes into the VM; a tree that is none, as an unpacked archive, does not.
ARGS ?= vm run --rm $(test ! -e .git || echo .) -- sh -c '. /etc/os-release; echo "This is $(hostname): $PRETTY_NAME, Linux $(uname -r), up for $(cut -d. -f1 /proc/uptime) s."; git log -1 --format="Here is a copy of the repository, at %h: %s" 2>/dev/null'

.PHONY: run test torture check build bench bench-host coverage install setup setup-test clean \
	smoke smoke-build smoke-coverage smoke-coverage-html smoke-clean smoke-fresh

run: setup build
	@$(BIN)/banger $(value ARGS)

# One tier alone: make test TIERS=script. Scripts by name: make test TIERS=vm RUN='R3|L8'.
TIERS ?=
RUN   ?=
test: setup-test build
	@$(GO) build -o build/summary ./test/summary && build/summary -run '$(RUN)' $(TIERS)

# The programs in a test host with real KVM, and what of them that covers. One
# scenario alone: make smoke RUN=life, make smoke RUN=life/qemu.
smoke: setup-test build
	@$(GO) build -o build/summary ./test/summary && build/summary -run '$(RUN)' smoke
	@$(MAKE) --no-print-directory smoke-coverage

smoke-build: setup-test
	@$(GO) run ./test/smoke -build

smoke-coverage: coverage/unit
	@$(GO) run ./test/smoke -compare

smoke-coverage-html:
	@$(GO) tool covdata textfmt -i=coverage/smoke -o=coverage/smoke.out
	@$(GO) tool cover -html=coverage/smoke.out -o=coverage/smoke.html
	@echo coverage/smoke.html

# The test host's image, and all that a run leaves. Image and kernel of VMs are
# the user's own, and stay.
smoke-clean:
	rm -rf build/smoke coverage/smoke coverage/smoke.* "$${XDG_CACHE_HOME:-$$HOME/.cache}/banger/test-host"

# First use of everything: no image of the test host, none of VMs handed in.
smoke-fresh: smoke-clean setup-test build
	@$(GO) build -o build/summary ./test/summary && build/summary -fresh -run '$(RUN)' smoke
	@$(MAKE) --no-print-directory smoke-coverage

# Whether the tests pass is told by the tier unit.
coverage/unit: $(shell find internal cmd -name '*.go')
	@rm -rf $@ && mkdir -p $@
	@$(GO) test -cover ./internal/... ./cmd/... -args -test.gocoverdir=$(CURDIR)/$@ >coverage/unit.log || \
		echo "coverage: not all unit tests passed, see coverage/unit.log" >&2

# What can be told without running a tier: format, vet, staticcheck, known
# vulnerabilities, the layout, shell scripts.
check: setup-test
	@$(GO) build -o build/summary ./test/summary && build/summary check

# The agent is packed into every initramfs: without symbols it is a third smaller.
build:
	@mkdir -p $(BIN)
	@CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/ ./cmd/banger ./cmd/bangerd
	@CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w $(LDFLAGS)' -o $(BIN)/ ./cmd/banger-agent

# What takes too long for make test, in parts: make torture PART=faults. A part
# that was cut goes on where it was; ANEW=-anew begins again.
PART ?=
ANEW ?=
torture: setup-test build
	@$(GO) run ./test/torture $(ANEW) $(PART)

bench: setup build
	@$(GO) run ./test/bench

# The same on real KVM, on each VMM, in the test host.
bench-host: setup-test build
	@mkdir -p build/bench-host
	@CGO_ENABLED=0 $(GO) build -o build/bench-host/bench ./test/bench
	@$(GO) build -o build/test-host ./test/smoke/shell
	@build/test-host -in build/bench-host -- ./bench -host -bin $(HANDED)/bin >build/bench-host.md
	@cp build/bench-host.md docs/benchmarks-host.md

# Statement coverage, by package: of the unit tests, of the programs under the
# script tier, and of both. With VM=1 the scripts with guests too.
coverage: setup-test coverage/unit
	@rm -rf coverage/programs build/cover && mkdir -p coverage/programs build/cover
	@CGO_ENABLED=0 $(GO) build -cover -coverpkg=./internal/...,./cmd/... -o build/cover/ ./cmd/banger ./cmd/bangerd
	@CGO_ENABLED=0 $(GO) build -o build/cover/ ./cmd/banger-agent
	@GOCOVERDIR=$(CURDIR)/coverage/programs BANGER_TEST_BIN=$(CURDIR)/build/cover \
		$(GO) test -count=1 -parallel=2 -timeout=20m -tags=$(if $(VM),vmtest) ./test/script $(if $(VM),./test/vm)
	@for of in unit programs unit,programs; do echo "== $$of"; \
		$(GO) tool covdata percent -i=$$(echo $$of | sed 's|[a-z]*|coverage/&|g'); done
	@$(GO) tool covdata textfmt -i=coverage/unit,coverage/programs -o=coverage/all.out
	@$(GO) tool cover -func=coverage/all.out | tail -n 1

# bangerd and banger-agent are no commands: banger finds them in libexec.
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
