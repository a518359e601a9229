# SPDX-License-Identifier: Apache-2.0
"""What the agent costs beside stock oslo.messaging servers (doc/benchmarks.rst)."""
