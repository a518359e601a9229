# SPDX-License-Identifier: Apache-2.0
"""Sealed commands, replies and reports (doc/wire.rst, section 8); no I/O, no clock.

Whoever opens or seals passes the time in.  PyNaCl is imported when the first key is
made, so a program without keys does not pay for it.
"""
