# SPDX-License-Identifier: Apache-2.0
"""What oslo.messaging logs of queries that make no sense: few lines, and short ones.

By itself it writes a traceback for each, and whoever may send a query could fill the
disk with them.
"""

from __future__ import annotations

import logging

from oslo_messaging.rpc import dispatcher

from guestagent import logs

_DECODER = 'oslo.messaging._drivers.impl_rabbit'
_SERVER = 'oslo_messaging.rpc.server'
#: By logger, how its messages begin that anybody can bring about.
_TEXTS = {
    _DECODER: ('Failed to process message',),
    _SERVER: ('Exception during message handling', 'Can not send reply'),
    'oslo_messaging._drivers.amqpdriver': ("%(reply_q)s doesn't exist", 'The reply '),
}


class Filter(logging.Filter):
    """Lets one of many records of a kind through, in one line if it can be.

    An error that is not of the message, but of the method, keeps its traceback.
    """

    def __init__(self) -> None:
        super().__init__()
        self._limit = logs.RateLimit()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is logged."""
        if not str(record.msg).startswith(_TEXTS.get(record.name, ())):
            return True
        error = record.exc_info[1] if record.exc_info else None
        held = self._limit.allow(f'{record.msg} {type(error).__name__}')
        if held is None:
            return False
        text = record.getMessage()
        if error is not None:
            text = f'{text}: {" ".join(str(error).split()) or type(error).__name__}'
        if record.name == _DECODER or isinstance(error, dispatcher.RPCDispatcherError):
            record.exc_info = None
        record.msg = '%.500s (%d others since the last such line)'
        record.args = (text, held)
        return True


def quieten() -> None:
    """Put a filter on the loggers of oslo.messaging."""
    for name in _TEXTS:
        logging.getLogger(name).addFilter(Filter())
