# SPDX-License-Identifier: Apache-2.0
"""Who may use which command of this guest, with which arguments (doc/policy.rst).

:mod:`~guestagent.agent.policy.patterns` and :mod:`~guestagent.agent.policy.rules`
decide and do no I/O, :mod:`~guestagent.agent.policy.text` makes rules of a file's text,
:mod:`~guestagent.agent.policy.files` reads it, and
:mod:`~guestagent.agent.policy.judge` holds rules against requests.
"""
