# SPDX-License-Identifier: Apache-2.0
"""Keep off the disk while its file system is frozen (doc/fsfreeze.rst).

What writes to a frozen file system sleeps until somebody thaws it.  So before that the
agent's files are *held*: what is written to them goes to an area in memory, and is
merged into them after the thaw.

``gate`` lets those who read and write pass while nobody changes where to; ``disk`` is
what all files of records are given, and stands before the real disk or the area;
``overlay`` is the area, ``merging`` brings it home; ``logbook`` does the same for the
log.  ``storage`` decides when, for those extensions that freeze; ``places`` knows what
lies on which device.  An agent that holds nothing imports ``gate``, ``disk`` and
``storage`` only.
"""
