# SPDX-License-Identifier: Apache-2.0
"""Every error that this project raises on purpose, ordered by whose fault it is.

What a caller should do follows from the branch: mend the request
(:class:`CallerError`), look at the guest (:class:`GuestError`), ask an operator for
the right (:class:`Refused`), or repeat it later (:class:`Transient`).  An error
crosses the bus as class, module, message and arguments; a stock oslo.messaging
client raises it again when ``guestagent.errors`` is in its
``allowed_remote_exmods``.
"""


class GuestAgentError(Exception):
    """Base of all; ``code`` is the stable word that outcomes and logs use."""

    code = 'error'

    #: The module a client is told; two errors below are oslo.messaging's own.
    wire_module = 'guestagent.errors'


class CallerError(GuestAgentError):
    """The request is wrong; repeating it unchanged is useless."""

    code = 'invalid'


class InvalidArgument(CallerError):
    """An argument is of the right type but its value makes no sense."""


class RequestTooLarge(CallerError):
    """The request is larger than the guest reads."""

    code = 'request-too-large'


class IdReused(CallerError):
    """The same caller has used this command id for another request."""

    code = 'id-reused'


class NoSuchInstance(CallerError):
    """The conductor has never heard of this instance."""

    code = 'no-such-instance'


class NoSuchRecord(CallerError):
    """The conductor has no such command, event or extension on record."""

    code = 'no-such-record'


class NoSuchMethod(CallerError):
    """The namespace is served, but not this method; oslo.messaging's own error."""

    code = 'no-such-method'
    wire_module = 'oslo_messaging.rpc.dispatcher'

    def __init__(self, method: object) -> None:
        super().__init__(f'Endpoint does not support RPC method {method}')


class UnsupportedVersion(CallerError):
    """No such namespace, or not in this version; oslo.messaging's own error."""

    code = 'unsupported-version'
    wire_module = 'oslo_messaging.rpc.dispatcher'

    def __init__(self, version: object, method: object = None) -> None:
        super().__init__(
            f'Endpoint does not support RPC version {version}. '
            f'Attempted method: {method}'
        )


class GuestError(GuestAgentError):
    """The guest could not do it; its log says more."""

    code = 'failed'


class CommandTimeout(GuestError):
    """The command did not end within its time limit and was cancelled."""

    code = 'timeout'


class Cancelled(GuestError):
    """Someone cancelled the command."""

    code = 'cancelled'


class Interrupted(GuestError):
    """The agent stopped before the command ended; nobody knows how far it got."""

    code = 'interrupted'


class ResultTooLarge(GuestError):
    """The command ran, but its result is larger than a message may be."""

    code = 'result-too-large'


class BadResult(GuestError):
    """The extension returned something that JSON cannot carry."""

    code = 'bad-result'


class ExtensionUnavailable(GuestError):
    """Another extension, asked by this one, is not loaded."""

    code = 'unavailable'


class ExtensionDied(GuestError):
    """The process of an isolated extension ended, or does not start."""

    code = 'extension-died'


class StorageError(GuestError):
    """The guest cannot keep on its disk what it must."""

    code = 'storage'


class DiskFull(StorageError):
    """There is no room on the guest's disk; repeat it later, with the same id."""

    code = 'disk-full'


class JournalFull(StorageError):
    """Too many commands have outcomes that nobody has; repeat it later."""

    code = 'journal-full'


class StorageHeld(StorageError):
    """Another process has the file open."""

    code = 'storage-held'


class StorageTooNew(StorageError):
    """A later version of the agent has written the file."""

    code = 'storage-too-new'


class NotSealed(GuestError):
    """What came as the answer was not sealed by the guest; raised by clients."""

    code = 'not-sealed'


class Refused(GuestAgentError):
    """The guest does not let this caller do this."""

    code = 'refused'


class Forbidden(Refused):
    """The policy of the guest does not let this caller do this."""

    code = 'forbidden'


class Transient(GuestAgentError):
    """Nothing is wrong with the request; repeat it later, with the same id."""

    code = 'transient'


class Busy(Transient):
    """No worker is free and the backlog is full."""

    code = 'busy'


class Stopping(Transient):
    """The agent is on its way out and takes no more commands."""

    code = 'stopping'


class ClockSkew(Transient):
    """A sealed command does not fit the guest's clock; seal it anew, by that clock.

    :ivar kwargs: ``{'clock': <UNIX seconds>, 'epoch': <text>}``: the guest's.
    """

    code = 'clock-skew'

    def __init__(self, message: str, clock: float = 0.0, epoch: str = '') -> None:
        super().__init__(message)
        self.kwargs = {'clock': clock, 'epoch': epoch}


class ConfigError(GuestAgentError):
    """The configuration is wrong; names file, section and option where known."""

    code = 'config'
