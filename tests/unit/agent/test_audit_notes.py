# SPDX-License-Identifier: Apache-2.0
"""What extensions have the audit log say more of a command."""

import json

import pytest

from guestagent import errors, extension
from guestagent.agent.audit import chain
from guestagent.testing import agent


class Noting(extension.Extension):
    """Reads, but tells of it."""

    @extension.command(mutates=False)
    def read(
        self, context: extension.Context, about: dict[str, object], needed: bool
    ) -> None:
        self.record_note('read', context, about, needed=needed)


@pytest.fixture
def guest():
    with agent.Agent({'noting': Noting}) as made:
        yield made


def test_a_note_is_a_record_with_who_and_which_command(guest):
    about = {'pid': 1, 'path': 'x' * 2000}
    for needed in (False, True):
        guest.call(
            'noting.read',
            {'about': about, 'needed': needed},
            caller='me',
            command_id=f'c-{needed}',
        )

    lines = guest.call('agent.audit')['lines']
    notes = [record for record in map(json.loads, lines) if record['kind'] == 'note']
    assert [note['id'] for note in notes] == ['c-False', 'c-True']
    for note in notes:
        assert (note['caller'], note['proven']) == ('me', False)
        assert note['command'] == 'noting.read'
        assert note['about']['pid'] == 1
        assert len(note['about']['path']) == 1003  # as of an argument, the beginning
        assert note['chain']
    assert chain.read(lines[-1]).head.length == len(lines)


def test_only_what_is_needed_fails_where_nothing_can_be_recorded(guest, monkeypatch):
    def fail(_records):
        raise errors.StorageError('the disk is full')

    monkeypatch.setattr(guest._service.path.audit._files, 'append', fail)

    guest.call('noting.read', {'about': {}, 'needed': False})
    with pytest.raises(errors.StorageError, match='is full'):
        guest.call('noting.read', {'about': {}, 'needed': True})
