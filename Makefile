# The front door.  Each target does its own set-up and may be repeated; the work is in scripts/.

# What building needs, and what only the tests, the demo and the comparison with others need.
BUILD_PACKAGES = gcc libc6-dev python3-venv
DEMO_PACKAGES = busybox-static util-linux iproute2 nftables procps
TEST_PACKAGES = $(DEMO_PACKAGES) git clang-format shellcheck binutils file xz-utils zstd strace libcap2-bin iproute2 uidmap chromium fonts-dejavu-core zsh fish man-db groff-base \
	nftables passt gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user
PEER_PACKAGES = runc crun bubblewrap podman conmon netavark aardvark-dns iptables skopeo umoci buildah \
	docker-registry openssl docker.io containerd criu e2fsprogs \
	mmdebstrap dnf rpm createrepo-c

VM_PACKAGES = gcc libc6-dev python3-venv qemu-system-x86 qemu-utils mmdebstrap e2fsprogs cpio zstd xz-utils procps

PY = .venv/bin/python

.PHONY: help install dev native lint test demo bench test-vm clean

help:
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 18

install: ## everything from nothing: .venv/bin/newroot and .venv/bin/newroot-oci
	@scripts/setup apt $(BUILD_PACKAGES)
	@scripts/setup install

dev: ## the fast loop: .venv runs what is in src/, newroot-init is rebuilt when its C changed
	@scripts/setup apt $(BUILD_PACKAGES)
	@scripts/setup dev
	@scripts/setup native
	@scripts/setup link

native: ## newroot-init alone
	@scripts/setup native

lint: ## ruff, mypy --strict, clang-format
	@scripts/setup apt $(BUILD_PACKAGES) clang-format
	@scripts/setup dev
	@scripts/lint

test: ## all set-up, lint, and the whole suite against the installed wheel
	@scripts/setup apt $(BUILD_PACKAGES) $(TEST_PACKAGES) $(PEER_PACKAGES)
	@scripts/setup dev
	@# A flaw of form does not hide what the tests would say, and the other way round.
	@status=0; scripts/lint || status=1; \
	scripts/setup install && scripts/test --all || status=1; exit $$status

demo: install ## a container on an image made of busybox, and the proofs
	@scripts/setup apt $(DEMO_PACKAGES)
	@scripts/demo

bench: install ## one table: newroot beside the others, in one run
	@scripts/setup apt $(DEMO_PACKAGES) $(PEER_PACKAGES)
	@bench/run

test-vm: ## what depends on the host, in a virtual machine with systemd and pure cgroup v2
	@scripts/setup apt $(VM_PACKAGES)
	@scripts/setup dev
	@scripts/setup native
	@scripts/test-vm

clean: ## what was built; .venv stays
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -f src/newroot/native/newroot-init
	find src tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +
