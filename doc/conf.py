# SPDX-License-Identifier: Apache-2.0
"""How Sphinx builds the documentation; ``make docs``."""

import guestagent

project = 'guestagent'
author = 'guestagent developers'
copyright = author
version = release = guestagent.__version__

extensions = ['cliff.sphinxext', 'oslo_config.sphinxext', 'sphinx.ext.autodoc']
# The manual pages are made by themselves: packaging/manual.
exclude_patterns = ['_build', '*.[158].rst', 'qga-options.rst']
html_theme = 'alabaster'
html_theme_options = {
    'description': 'A guest agent for virtual machines',
    'fixed_sidebar': True,
}
highlight_language = 'text'

#: (document, name, what stands after the name, authors, section)
man_pages = [
    ('guestagent.8', 'guestagent', 'guest agent for virtual machines', [], 8),
    ('guestagent.conf.5', 'guestagent.conf', "the agent's options", [], 5),
    ('guestagent-conductor.8', 'guestagent-conductor', 'knows all guests', [], 8),
    (
        'guestagent-conductor.conf.5',
        'guestagent-conductor.conf',
        "the conductor's options",
        [],
        5,
    ),
    ('guestagent-hub.8', 'guestagent-hub', 'a bus for one machine', [], 8),
    ('guestagent-qga.8', 'guestagent-qga', "answers qemu-ga's clients", [], 8),
    ('guestctl.1', 'guestctl', 'operate guests', [], 1),
]
