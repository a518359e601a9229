# SPDX-License-Identifier: Apache-2.0
"""How Sphinx builds the documentation; ``make docs``."""

import guestagent

project = 'guestagent'
author = 'guestagent developers'
copyright = author
version = release = guestagent.__version__

extensions = ['oslo_config.sphinxext', 'sphinx.ext.autodoc']
exclude_patterns = ['_build']
html_theme = 'alabaster'
html_theme_options = {
    'description': 'A guest agent for virtual machines',
    'fixed_sidebar': True,
}
highlight_language = 'text'
