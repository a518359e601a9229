# SPDX-License-Identifier: Apache-2.0
"""For all tests: oslo.messaging as the project's programs load it, logs on failure.

pytest loads this before any test module, so what is refused here is refused for all.
"""

import os
import signal
from collections.abc import Iterator

import hypothesis
import pytest
from oslo_service import backend

from devstack import databases, processes
from guestagent import imports
from tests import secrecy

# The same examples in each run, so that a change fails by what it changed; new ones
# are looked for by ``make fuzz`` and with HYPOTHESIS_PROFILE=default.
hypothesis.settings.register_profile('same', derandomize=True, deadline=None)
hypothesis.settings.load_profile(os.environ.get('HYPOTHESIS_PROFILE', 'same'))

# Where the tests run in the background of a script, programs would not hear Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)

imports.refuse('eventlet')
backend.init_backend(backend.BackendType.THREADING)

#: The children that a test started; their logs belong to the report of a failure.
CHILDREN = pytest.StashKey[list[processes.Process]]()


#: Where secrets were found at the end.
SPILLED = pytest.StashKey[list[str]]()


@pytest.fixture
def children(request: pytest.FixtureRequest) -> Iterator[list[processes.Process]]:
    """A list: what a test appends is stopped after it, the last one first."""
    started: list[processes.Process] = []
    request.node.stash[CHILDREN] = started
    yield started
    failures = []
    for child in reversed(started):
        try:
            child.stop()
        except processes.Failed as error:
            failures.append(str(error))
    if failures:
        pytest.fail('\n'.join(failures), pytrace=False)


@pytest.fixture(scope='session')
def postgresql(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[databases.PostgreSQL]:
    """The worker's PostgreSQL server; a test that stops it starts it again."""
    server = databases.PostgreSQL(tmp_path_factory.mktemp('postgresql'))
    yield server
    server.remove()


@pytest.fixture(scope='session')
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[databases.MariaDB]:
    """The worker's MariaDB server; a test that stops it starts it again."""
    server = databases.MariaDB(tmp_path_factory.mktemp('mariadb'))
    yield server
    server.remove()


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Where workers share the files out, begin with those that take long.

    The many short ones of the unit tests then end all workers at the same time.
    """
    if hasattr(config, 'workerinput'):
        units = config.rootpath / 'tests/unit'
        items.sort(key=lambda item: item.path.is_relative_to(units))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run if a secret of a test stands where none may; when all have ended."""
    if hasattr(session.config, 'workerinput'):
        return
    folder = session.config._tmp_path_factory.getbasetemp()
    found = session.config.stash[SPILLED] = secrecy.search(folder)
    if found and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say where secrets were found."""
    if found := config.stash.get(SPILLED, []):
        terminalreporter.section('secrets where none may be')
        terminalreporter.write('\n'.join([*found, '']))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """Add the end of each child's log to the report of a failed test."""
    report = yield
    if report.failed:
        for child in item.stash.get(CHILDREN, []):
            report.sections.append((f'log of {child.name}', child.tail(80)))
    return report
