# accelnet: everything a developer types. `make` alone explains.
SHELL := /bin/bash
.DEFAULT_GOAL := help
CARGO ?= cargo
# Several worktrees can share one: make CARGO_TARGET_DIR=… test
TARGET := $(or $(CARGO_TARGET_DIR),target)
LAB := $(TARGET)/debug/accelnet-lab
# What tests build beside what is shipped; the second is never in what is.
TESTED := accelnet-daemon/etcd,accelnet-daemon/crash-points
# One test of crates/lab/tests/lab: lab_test NAME.
LAB_LOST = $(abspath $(TARGET))/lab-lost-$(1)
define lab_test
ACCELNET_LAB_LOST=$(LAB_LOST) $(CARGO) test --workspace --features $(TESTED),accelnet-lab/lab --test lab -- --nocapture --exact $(1)
endef

.PHONY: help deps build test-build demo test unit-test contract-test metrics-test idle-cost sim fuzz mutants lab-test lab-tests bench check fmt openapi problems configuration deb deb-test cockpit-test hooks-test freeze clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

deps: ## install the system packages that build and lab need (says which; Debian, Ubuntu)
	@scripts/install-deps

build: deps ## build all binaries
	$(CARGO) build

# Everything at once and always with the same features: asked for by package or without the tests, cargo builds
# half of all dependencies a second time.
test-build: deps
	$(CARGO) build --workspace --bins --tests --examples --features $(TESTED)

# The lab's program depends on nothing else of ours: it is built while the lab's packages are installed, and makes
# the images, and boots, while all the rest is built.
demo: ## a running VM goes to a VF and back, measured (KEEP=1 leaves it running, ROUNDS=10 measures longer)
	@scripts/install-deps build
	@scripts/install-deps demo & $(CARGO) build --bin accelnet-lab --bin accelnet-lab-guest; built=$$?; wait $$! && exit $$built
	$(LAB) --name demo demo --build '$(CARGO) build' --out $(TARGET)/demo $(if $(KEEP),--keep) $(if $(ROUNDS),--rounds $(ROUNDS))

test: unit-test contract-test metrics-test hooks-test sim fuzz lab-test ## all tests, on simulated twins and in the lab

# Property tests try the same cases in every run, only so that a failure is one of the change under test
# and can be had again: any other seed (make unit-test PROPTEST_RNG_SEED=…) takes as long.
unit-test: export PROPTEST_RNG_SEED ?= 20261125
unit-test: test-build ## unit, property and component tests only
	$(CARGO) test --workspace --features $(TESTED)

contract-test: test-build ## requests made from the OpenAPI document against the server over made-up nodes
	CARGO_TARGET_DIR=$(TARGET) scripts/contract-test

metrics-test: test-build ## a real Prometheus scrapes a server and an agent; rules and alerts are tried with promtool
	@scripts/install-deps metrics
	CARGO_TARGET_DIR=$(TARGET) scripts/metrics-test

MINUTES := 5
idle-cost: build ## what an idle accelnetd costs beside Debian's prometheus-node-exporter (MINUTES=15 measures longer)
	@scripts/install-deps idle
	CARGO_TARGET_DIR=$(TARGET) scripts/idle-cost $(MINUTES)

# Hosts by themselves, and a third as many clusters: those take longer.
SEEDS := 300
# A run that is long enough for all that may happen fails if anything never did.
COMPLETE = $(shell [ $(SEEDS) -lt 10000 ] || echo --complete)
sim: test-build ## production code on simulated machines that fail, seed after seed (SEEDS=10000 for a night)
	$(TARGET)/debug/accelnet-sim --seeds $(SEEDS) $(COMPLETE)
	$(TARGET)/debug/accelnet-sim --cluster --seeds $$(($(SEEDS) / 3)) $(COMPLETE)

# Seconds of fuzzing in all, two targets at a time: an hour is TIME=3600, one target of fuzz/src/lib.rs
# FUZZ=domain_xml. The dependencies are those of the tests' build. SEED=0 makes up other inputs each time.
TIME := 120
fuzz: export TESTED := $(TESTED)
fuzz: test-build ## what guests, the network and tools might say, made up and read (TIME=3600 for an hour)
	CARGO_TARGET_DIR=$(TARGET) TIME=$(TIME) scripts/fuzz $(FUZZ)

mutants: deps ## broken variants of the code, each of which the simulator has to find (half an hour)
	$(CARGO) run -q -p xtask -- mutants

# The long ones first. And others when they are asked for: make lab-test LAB_TESTS="networks policies guides crash
# sandbox faults_told packages ansible_cluster ordinary_work beneath lossless travel cluster_at_length several_servers
# crash_of_moves pacemaker" (pacemaker makes images of its own when it is first run; packages and ansible_cluster need
# scripts/install-deps ansible).
LAB_TESTS := connectivity smoke with_smt documentation without_iommu cluster
# So many at a time: a machine that is emulated keeps one core busy, however many there are.
LAB_JOBS := 2
# Those of several machines want all cores: one after the other, when the others are done.
LAB_WIDE := travel cluster cluster_at_length several_servers ansible_cluster crash_of_moves pacemaker

lab-test: test-build ## the lab tests only: real drivers, real libvirt, an emulated card (one: LAB_TESTS=smoke)
	@$(MAKE) --no-print-directory -j$(LAB_JOBS) lab-tests LAB_TESTS="$(filter-out $(LAB_WIDE),$(LAB_TESTS))"
	@$(MAKE) --no-print-directory -j1 lab-tests LAB_TESTS="$(filter $(LAB_WIDE),$(LAB_TESTS))"

lab-tests: $(LAB_TESTS:%=lab-test-%)

# Software emulation now and then loses a machine by itself (docs/reference/lab.md): then, and only then, the
# test is tried once more.
lab-test-%:
	@set -o pipefail; rm -f $(call LAB_LOST,$*); { \
	  $(call lab_test,$*) || { [ -e $(call LAB_LOST,$*) ] && $(call lab_test,$*); }; \
	} 2>&1 | sed -u 's/^/$*: /'

bench: ## decisions at 10,000 nodes and 200,000 VMs, a cluster of 1,000 on etcd; as root a look at 500 VMs
	$(CARGO) bench -p accelnet-rules --bench admission
	$(CARGO) bench -p accelnet-server --bench admissions
	$(CARGO) bench -p accelnet-daemon --features etcd --bench cluster
	$(CARGO) bench -p accelnet-host --bench look

check: deps ## formatting, lints, crate directions, problem catalogue, licences and advisories of what we use
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --all-features -- -D warnings
	$(CARGO) run -q -p xtask -- check
	@CARGO_TARGET_DIR=$(TARGET) scripts/deny

fmt: ## format the code
	$(CARGO) fmt --all

openapi: build ## write docs/reference/openapi.json anew
	$(TARGET)/debug/accelnetd openapi > docs/reference/openapi.json

problems: build ## write docs/reference/problems.md, health.md and metrics.md anew
	$(TARGET)/debug/accelnet explain --markdown > docs/reference/problems.md
	$(TARGET)/debug/accelnet explain --detections > docs/reference/health.md
	$(TARGET)/debug/accelnet explain --metrics > docs/reference/metrics.md

configuration: build ## write docs/reference/configuration.md anew
	$(TARGET)/debug/accelnetd config reference > docs/reference/configuration.md

# A release takes long to build; what tests use does not (make deb PROFILE=dev).
deb: export PROFILE ?= release
deb: deps ## packages for Debian and Ubuntu, in target/deb
	CARGO_TARGET_DIR=$(TARGET) scripts/deb

deb-test: deps ## the same of what tests use, installed, upgraded and purged on clean roots, as root (not in make test)
	CARGO_TARGET_DIR=$(TARGET) scripts/deb-test

cockpit-test: test-build ## the page for Cockpit in Debian's Cockpit, through a headless Chromium, as root (not in make test)
	CARGO_TARGET_DIR=$(TARGET) scripts/cockpit-test

hooks-test: test-build ## the example hooks for OpenNebula and CloudStack against a server with made-up nodes
	@scripts/install-deps hooks
	CARGO_TARGET_DIR=$(TARGET) scripts/hooks-test

freeze: deps ## promise what the API has now, at a release; refused if it breaks what was promised
	ACCELNET_FREEZE=1 $(CARGO) test --workspace --features $(TESTED) --test frozen

clean: ## remove what was built (images stay in the cache)
	$(CARGO) clean
