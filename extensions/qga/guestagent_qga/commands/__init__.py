# SPDX-License-Identifier: Apache-2.0
"""qemu-ga's commands by topic: each is a short function onto native commands.

A function is named as its command, ``guest-file-open`` is ``file_open``, and stands in
the module that the table in :mod:`guestagent_qga.schema` names.  It is called with the
:class:`guestagent_qga.guest.Guest` and the arguments, which have been checked against
the table, on a worker; it returns what JSON can carry, in the shape of the table, and
raises :class:`guestagent_qga.errors.CommandError`.
"""
