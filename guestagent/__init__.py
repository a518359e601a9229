# SPDX-License-Identifier: Apache-2.0
"""A guest agent for virtual machines that any control plane can drive."""

#: The version of the agent, the conductor and the tools: one for all.
__version__ = '0.1.0'
