# SPDX-License-Identifier: Apache-2.0
"""How Sphinx builds the documentation; ``make docs``."""

import guestagent

project = 'guestagent'
author = 'guestagent developers'
copyright = author
version = release = guestagent.__version__

extensions = ['cliff.sphinxext', 'oslo_config.sphinxext', 'sphinx.ext.autodoc']
# The manual pages are made by themselves: packaging/manual.
exclude_patterns = ['_build', 'man']
html_theme = 'alabaster'
html_theme_options = {
    'description': 'A guest agent for virtual machines',
    'fixed_sidebar': True,
}
highlight_language = 'text'

#: (document, name, what stands after the name, authors, section)
man_pages = [
    ('man/guestagent', 'guestagent', 'guest agent for virtual machines', [], 8),
    ('man/guestagent.conf', 'guestagent.conf', "the agent's options", [], 5),
    ('man/guestagent-conductor', 'guestagent-conductor', 'knows all guests', [], 8),
    (
        'man/guestagent-conductor.conf',
        'guestagent-conductor.conf',
        "the conductor's options",
        [],
        5,
    ),
    ('man/guestagent-hub', 'guestagent-hub', 'a bus for one machine', [], 8),
    ('man/guestctl', 'guestctl', 'operate guests', [], 1),
]
