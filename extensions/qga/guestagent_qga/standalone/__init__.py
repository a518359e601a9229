# SPDX-License-Identifier: Apache-2.0
"""``guestagent-qga``: the channel by itself, in the place of the program qemu-ga.

There is no bus, no conductor and no plugin: what the channel needs stands in a table.
"""
