# SPDX-License-Identifier: Apache-2.0
"""The one-machine stack: what the demo, the tests and the benchmarks start."""
