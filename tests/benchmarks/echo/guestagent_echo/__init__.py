# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks call; of no use elsewhere."""
