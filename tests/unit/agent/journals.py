# SPDX-License-Identifier: Apache-2.0
"""What the tests of the journal have in common."""

from guestagent import extension
from guestagent.agent import recordfile, registry
from guestagent.agent import request as requests
from guestagent.agent.journal import journal, records, states
from tests import powercut

PATH = '/state/journal'


def opened(
    disk=None, commands=100, size=10**6, seconds=10**6, tell=None, instance='vm'
):
    """Return an open journal; by default on a new disk in memory."""
    made = journal.Journal(
        recordfile.RecordFile(
            PATH, records.KIND, records.VERSION, disk or powercut.PowerCut()
        ),
        instance,
        states.Bounds(commands, size, seconds),
        tell or (lambda *_: None),
    )
    made.open()
    return made


def command(mutates=True, repeatable=False, sensitive=(), function=None):
    def change(context: extension.Context, text: str = '') -> str:
        return text

    return registry.Command(
        'change',
        function or change,
        extension.CommandInfo(mutates, None, repeatable, frozenset(sensitive)),
    )


def asked(command_id='id', text='', caller='me', about=None):
    """Return a request that the steps before the journal have let pass."""
    request = requests.Request(
        'probe',
        'change',
        '1.0',
        {'text': text},
        caller=caller,
        command_id=command_id,
        id_given=True,
        values={'token': 'of the context'},
        door=requests.Door(),
    )
    request.command = about or command()
    return request


def done(result=None):
    return requests.Outcome(requests.DONE, result)


def accept(journal, request):
    """Have one request kept; return what came before, or raise why it is refused."""
    known = journal.accept([request]).get(request)
    if isinstance(known, Exception):
        raise known
    return known


def finish(journal, request, outcome):
    """Have one outcome kept."""
    journal.finish([(request, outcome)])


def outcome(journal, request):
    """Return what a repeat is answered with, or ``None`` as long as it waits."""
    answers = []
    known = accept(journal, request)
    assert known is not None
    known.then(answers.append)
    return answers[0] if answers else None
