# SPDX-License-Identifier: Apache-2.0
"""The commands that change the guest, on its disk: none is lost, and none runs twice.

``records`` is what stands in the file, ``states`` what it means, both without I/O;
``writing`` appends to the file, and ``commits`` lets one sync of the disk serve all who
wait for one; ``journal`` puts them together, and ``recovery`` settles at the start what
a crash has left open.  The step of the dispatcher that asks all this is
:mod:`guestagent.agent.steps.journaling`.
"""
