# SPDX-License-Identifier: Apache-2.0
"""Builds the Debian packages of this tree; see doc/packages.rst."""
