# SPDX-License-Identifier: Apache-2.0
PYTHON = .venv/bin/python

.PHONY: test-image help demo test unit functional lint docs man samples soak fuzz guest \
	bench packages clean

help:
	@echo 'make demo         show everything at work on this machine'
	@echo 'make test         style, types and all tests'
	@echo 'make unit         the tests that need no server'
	@echo 'make functional   the tests with real servers and processes'
	@echo 'make lint         style and types'
	@echo 'make soak         a real stack under random faults; MINUTES=10 SEED=1'
	@echo 'make fuzz         hostile input, a million and by atheris; SECONDS=60'
	@echo 'make guest        the packages in a Debian guest under QEMU, and its hosts'
	@echo 'make bench        ours beside the peers; ONLY=name for one'
	@echo 'make docs         doc/ as HTML into build/doc'
	@echo 'make man          the manual pages into build/man'
	@echo 'make samples      etc/guestagent from the options in the code'
	@echo 'make test-image   an image for Trove, in which the agent is started'
	@echo 'make packages     Debian packages into build/packages'
	@echo 'make clean        remove what was built, but not .venv'

demo:
	./devstack/demo

test:
	./devstack/test

unit: venv
	$(PYTHON) -m pytest tests/unit extensions

functional: venv
	$(PYTHON) -m pytest -n 2 --dist loadfile tests/functional tests/interop \
		tests/faults tests/property

lint: venv
	./devstack/lint

docs: venv
	$(PYTHON) -m sphinx -W --keep-going -q -b html doc build/doc
	.venv/bin/reno -q lint

man: venv
	./packaging/manual

samples: venv
	for file in etc/oslo-config-generator/*.conf; do \
		.venv/bin/oslo-config-generator --config-file "$$file" || exit 1; \
	done

bench: venv
	$(PYTHON) tests/benchmarks/run.py $(if $(ONLY),--only $(ONLY))

soak: venv
	$(PYTHON) tests/faults/soak.py $(if $(MINUTES),--minutes $(MINUTES)) \
		$(if $(SEED),--seed $(SEED))

fuzz: venv
	FUZZ_INPUTS=1000000 HYPOTHESIS_PROFILE=default $(PYTHON) -m pytest -n 2 \
		--dist load tests/fuzz -k 'not atheris'
	HYPOTHESIS_PROFILE=default $(PYTHON) -m pytest -n 2 tests/property tests/unit
	$(PYTHON) tests/fuzz/run.py --seconds $(or $(SECONDS),60)

guest: venv
	$(PYTHON) -m pytest tests/guest

packages:
	./packaging/debian/build

test-image: packages
	./packaging/diskimage-builder/test-image

clean:
	rm -rf build .mypy_cache .pytest_cache .ruff_cache
	find . -path ./.venv -prune -o -name __pycache__ -prune -exec rm -rf {} +

.PHONY: venv
venv:
	./devstack/prepare test
