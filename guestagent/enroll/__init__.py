# SPDX-License-Identifier: Apache-2.0
"""Enrolment: how a new guest gets its keys for a token, once (doc/enrolment.rst).

No module here does I/O.
"""
