# SPDX-License-Identifier: Apache-2.0
"""The manual pages: made from the documentation, whole, and without mistakes."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

from devstack import stack

pytestmark = pytest.mark.functional

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = [
    'guestagent-conductor.8',
    'guestagent-conductor.conf.5',
    'guestagent-hub.8',
    'guestagent-qga.8',
    'guestagent.8',
    'guestagent.conf.5',
    'guestctl.1',
]


@pytest.fixture(scope='module')
def manual(tmp_path_factory):
    """The folder of the pages, made with no warning from the whole documentation."""
    folder = tmp_path_factory.mktemp('manual')
    done = subprocess.run(
        [ROOT / 'packaging/manual', folder],
        env={**os.environ, 'PYTHON': sys.executable},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, '')
    return folder


def read(path):
    """Return a page's source with its hyphens as they are typed."""
    return re.sub(r'\\f[A-Z]|\\&', '', path.read_text()).replace(r'\-', '-')


def test_all_pages_are_made(manual):
    assert sorted(path.name for path in manual.glob('*.[0-9]')) == PAGES


@pytest.mark.parametrize('page', PAGES)
def test_groff_has_nothing_to_say(manual, page):
    done = subprocess.run(
        # A long word that cannot be broken is none of our mistakes.
        [
            'groff',
            '-t',
            '-man',
            '-ww',
            '-Wbreak',
            '-Kutf8',
            '-Tutf8',
            '-P-cbou',
            manual / page,
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ''
    assert '\nNAME\n' in done.stdout


@pytest.mark.parametrize(
    'program', ['guestagent', 'guestagent-conductor', 'guestagent-hub', 'guestctl']
)
def test_each_option_is_told_of(manual, program):
    said = subprocess.run(
        [stack.script(program), '--help'], capture_output=True, text=True, check=True
    ).stdout
    page = read(next(manual.glob(f'{program}.[18]')))
    for option in {*re.findall(r'--[a-z][a-z_-]+', said), '-h'}:
        assert re.search(rf'(?<![\w-]){option}(?![\w-])', page), option


def test_each_option_of_guestctls_commands_is_told_of(manual):
    script = subprocess.run(
        [stack.script('guestctl'), 'complete'],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    page = read(manual / 'guestctl.1')
    options = {*re.findall(r'--[a-z][a-z-]+', script)}
    assert len(options) > 40
    for option in options:
        assert option in page, option


@pytest.mark.parametrize(
    ('page', 'section', 'option'),
    [
        ('guestagent.conf.5', 'oslo_messaging_rabbit', 'ssl_ca_file'),
        ('guestagent.conf.5', 'exec', 'kill_grace'),
        ('guestagent-conductor.conf.5', 'database', 'connection'),
    ],
)
def test_options_of_files_are_told_of(manual, page, section, option):
    text = read(manual / page)
    assert f'.SS {section}\n' in text
    assert f'\n.B {option}\n' in text
