# SPDX-License-Identifier: Apache-2.0
"""What the agent was told to do, by whom, and how it ended (doc/audit.rst).

:mod:`~guestagent.agent.audit.chain` binds records to those before and does no I/O,
:mod:`~guestagent.agent.audit.files` keeps them on the disk, and
:mod:`~guestagent.agent.audit.log` is what all threads write to.
"""
