# SPDX-License-Identifier: Apache-2.0
"""Extensions in processes of their own, over the protocol of doc/stdio.rst.

:mod:`loading` asks such an extension what it is when the agent starts, and makes the
class that stands in for it.  :mod:`keeper` starts its process when it is used, stops it
when it is idle, and starts it again when it died.  :mod:`session` is one life of that
process, :mod:`process` its pipes and its end, :mod:`stdio` what travels in the pipes.
:mod:`child` is the other side for an extension in Python.
"""

#: The version of the protocol.
PROTOCOL = 1
