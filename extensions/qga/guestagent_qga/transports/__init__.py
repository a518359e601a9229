# SPDX-License-Identifier: Apache-2.0
"""Where clients are: at the other end of a device, or of a socket."""
