# SPDX-License-Identifier: Apache-2.0
"""What is known of the guest, a function for each fact.

A collector returns the present value of its fact, as JSON carries it, or ``None`` if
the guest has no such thing.  It raises OSError, ValueError or LookupError where it
cannot tell; the others are not concerned.  ``root`` is where /proc and /etc are.
"""
