# SPDX-License-Identifier: Apache-2.0
"""The extension ``trove`` of one guest."""

import pytest
from guestagent_trove import extension as trove

from guestagent import testing
from tests.unit.extensions.trove import standin


@pytest.fixture
def host():
    return standin.Datastore()


@pytest.fixture
def start(tmp_path, host):
    def start():
        return testing.started(
            trove.Trove,
            host=host,
            options={
                'guest_id': 'vm',
                'datastore_manager': 'mariadb',
                'state_folder': str(tmp_path / 'state'),
                'replication_strategy': 'MariaDBGTIDReplication',
            },
        )

    return start


@pytest.fixture
def guest(start):
    with start() as made:
        yield made
