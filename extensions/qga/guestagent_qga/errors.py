# SPDX-License-Identifier: Apache-2.0
"""What a client of the channel is told when something is wrong."""

from guestagent import errors

#: The only two classes that clients of qemu-ga ever see.
GENERIC = 'GenericError'
NOT_FOUND = 'CommandNotFound'


#: Why a native command failed that was carried out; a refusal is none of these.
FAILED = (errors.GuestError, errors.CallerError)


class CommandError(Exception):
    """An answer that is an error.

    :ivar kind: :data:`GENERIC` or :data:`NOT_FOUND`.
    """

    def __init__(self, text: str, kind: str = GENERIC) -> None:
        super().__init__(text)
        self.kind = kind


def reason(error: errors.GuestAgentError) -> str:
    """Return the system's own words for why a native command failed.

    Native commands end their messages with these, behind the last ``': '``.
    """
    return str(error).rpartition(': ')[2]
