# SPDX-License-Identifier: Apache-2.0
"""Freeze, thaw and trim file systems.

``extension`` is what the agent loads.  What freezes, and thaws whatever happens, is a
process of its own, ``holder``: it is outside the agent's control group, and needs
nothing of ``guestagent``.  ``control`` starts it and speaks to it.

``mounts`` and ``stack`` say what is frozen, and in which order; ``freezing`` does it,
by ``calls`` of the kernel; ``hooks`` runs programs before and after; ``leaving`` takes
the process out of the agent's reach.
"""
