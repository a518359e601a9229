# SPDX-License-Identifier: Apache-2.0
"""Let guests in that have a token, and cut off those that an operator names.

Operators speak to it on the conductor's own topic, sealed; guests with a token on a
topic of their own, because the account that all of them share may write to nothing
else.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import oslo_messaging
import sqlalchemy.exc

from guestagent import errors, logs
from guestagent.bus import topics
from guestagent.conductor.db import engine
from guestagent.conductor.db import enrolments as rows
from guestagent.enroll import exchange, operator
from guestagent.seal import value

LOG = logging.getLogger(__name__)

#: How often it is looked what other conductors were told, in seconds.
LOOK = 1.0
#: How often it is looked for bundles that have expired, in seconds.
_FORGET = 60.0
#: How much a bundle may have, in characters.
BUNDLE_MAX = 256 * 1024

#: The events.
ENROLLED, REVOKED = 'instance.enrolled', 'instance.revoked'
REFUSED = 'instance.enrolment_refused'

_Context = Mapping[str, Any]
#: Forgets an instance, though it is UP or not.
Forget = Callable[[str, bool], dict[str, Any]]


class Enrolments:
    """What the conductors know, kept at hand; for all threads.

    :param desk: opens what operators say; called for each, as keys may change.
    :ivar revoked: the instances that were cut off.
    :ivar vhosts: the instance that is alone in a virtual host, by that.
    """

    def __init__(
        self, database: engine.Database, desk: Callable[[], operator.Desk]
    ) -> None:
        self.database = database
        self.desk = desk
        self.revoked: set[str] = set()
        self.vhosts: dict[str, str] = {}
        self._newest = 0
        self._lock = threading.Lock()
        self._limit = logs.RateLimit()
        self._stopping = threading.Event()
        self._forget_at = 0.0
        self._thread = threading.Thread(
            target=self._run, name='enrolments', daemon=True
        )

    def start(self) -> None:
        """Read what is known, and go on looking.

        :raises sqlalchemy.exc.SQLAlchemyError: the database failed.
        """
        self.look()
        self._thread.start()

    def stop(self, seconds: float) -> bool:
        """Look no more; return whether that was in time."""
        self._stopping.set()
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def look(self) -> None:
        """Read what is new.

        :raises sqlalchemy.exc.SQLAlchemyError: the database failed.
        """
        with self._lock:
            # What an operator with a slower clock has said may have come later.
            after = self._newest - 2 * operator.SKEW
            vhosts = dict(self.vhosts)
            for name, stamp, vhost, revoked in rows.since(self.database, after):
                self._newest = max(self._newest, stamp)
                (self.revoked.add if revoked else self.revoked.discard)(name)
                for former in [one for one, who in vhosts.items() if who == name]:
                    del vhosts[former]
                if vhost and not revoked:
                    vhosts[vhost] = name
            self.vhosts = vhosts

    def tell(self, instance: str, kind: str, data: Mapping[str, Any]) -> None:
        """Log what happened and make it an event.

        :raises sqlalchemy.exc.SQLAlchemyError: the database failed.
        """
        LOG.info('%s: %s%s', kind, instance, f': {data}' if data else '')
        rows.note(self.database, instance, kind, data, time.time())

    def refuse(self, instance: str, reason: str, is_known: bool) -> errors.Refused:
        """Return what a guest is refused with; of what may come often, tell some."""
        held = self._limit.allow(f'refused {instance}')
        if held is not None:
            LOG.warning(
                'enrolment refused, in the name of %s: %s (%d others since the last '
                'such line)',
                instance,
                reason,
                held,
            )
            if is_known:
                rows.note(
                    self.database, instance, REFUSED, {'reason': reason}, time.time()
                )
        return errors.Refused('there is nothing for this token')

    def _run(self) -> None:
        while not self._stopping.wait(LOOK):
            try:
                self.look()
                if time.monotonic() >= self._forget_at:
                    rows.forget_expired(self.database, time.time())
                    self._forget_at = time.monotonic() + _FORGET
            except sqlalchemy.exc.SQLAlchemyError as error:
                held = self._limit.allow('failed')
                if held is not None:
                    LOG.warning(
                        'it cannot be seen which guests were cut off: %s',
                        engine.explain(error),
                    )
            except Exception:  # The boundary of a thread: it must go on.
                LOG.exception('looking at enrolments failed in an unforeseen way')


class Operators:
    """The RPC endpoint of operators; on several threads at once."""

    target = oslo_messaging.Target(
        namespace=operator.NAMESPACE, version=operator.VERSION
    )

    def __init__(self, known: Enrolments, forget: Forget) -> None:
        self._known = known
        self._forget = forget

    @oslo_messaging.expected_exceptions(errors.GuestAgentError)
    def operate(self, context: _Context, value: object = None) -> str:
        """Do what an operator says, sealed; return the answer, sealed.

        :raises guestagent.errors.Forbidden: it was no operator.
        """
        desk = self._known.desk()
        try:
            opened = desk.open(value, time.time())
        except _Broken as error:
            raise errors.Forbidden(f'the conductor does not do this: {error}') from None
        try:
            answer = self._do(opened.fields)
        except errors.GuestAgentError as error:
            answer = {'error': str(error)}
        except sqlalchemy.exc.SQLAlchemyError as error:
            LOG.error('an enrolment failed, the database: %s', engine.explain(error))
            answer = {'error': 'the conductor cannot use its database at the moment'}
        return desk.answer(opened, answer)

    def _do(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        name = topics.check_instance_id(str(fields.get('instance')))
        action, stamp = fields.get('action'), int(fields['stamp'])
        values: dict[str, Any] | None
        if action == operator.ENROLL:
            values = self._enrolment(name, fields)
        elif action == operator.REVOKE:
            values = {'revoked': time.time()}
        elif action == operator.DELETE:
            values = None
        else:
            raise errors.InvalidArgument(f'action {action!r:.100} is not known')
        before = rows.find(self._known.database, name)
        if not rows.write(self._known.database, name, stamp, values):
            raise errors.Refused(f'what is known of {name!r} is newer; try again')
        self._known.look()
        if action == operator.REVOKE:
            self._known.tell(name, REVOKED, {})
        if action == operator.DELETE:
            return self._forget(name, fields.get('force') is True)
        return {'vhost': '' if before is None else before.vhost}

    def _enrolment(self, name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        found = rows.find(self._known.database, name)
        if found is not None and found.revoked and fields.get('again') is not True:
            raise errors.Refused(
                f'{name!r} was cut off, and its keys, which come of the master keys '
                f'and its id, would be those that it had: give it another id, or '
                f'make new master keys and say --again'
            )
        values = {
            key: fields.get(key) for key in ('vhost', 'verify_key', 'bundle', 'expires')
        }
        texts = ('vhost', 'verify_key', 'bundle')
        if (
            not all(isinstance(values[key], str) for key in texts)
            or len(str(values['bundle'])) > BUNDLE_MAX
            or len(str(values['verify_key'])) != 2 * exchange.KEY_SIZE
            or len(str(values['vhost'])) > 255
            or type(values['expires']) is not int
        ):
            raise errors.InvalidArgument('the enrolment is not complete')
        return values


class Guests:
    """The RPC endpoint of guests that have a token; on several threads at once."""

    target = oslo_messaging.Target(
        namespace=exchange.NAMESPACE, version=exchange.VERSION
    )

    def __init__(self, known: Enrolments) -> None:
        self._known = known

    @oslo_messaging.expected_exceptions(errors.GuestAgentError)
    def exchange(
        self, context: _Context, instance: object = None, value: object = None
    ) -> str:
        """Return what a guest gets for its token.

        :raises guestagent.errors.Refused: nothing; whoever asks hears no reason but
            the log and an event tell it.
        :raises guestagent.errors.Transient: the database failed.
        """
        try:
            name = topics.check_instance_id(str(instance))
            return self._exchange(name, value)
        except errors.InvalidArgument:
            raise errors.Refused('there is nothing for this token') from None
        except sqlalchemy.exc.SQLAlchemyError as error:
            LOG.error('an exchange failed, the database: %s', engine.explain(error))
            raise errors.Transient('try again later') from None

    def _exchange(self, name: str, request: object) -> str:
        refuse = self._known.refuse
        entry = rows.find(self._known.database, name)
        if entry is None or not (entry.verify_key and entry.bundle):
            reason = 'there is no token of it, or its time is over'
            raise refuse(name, reason, entry is not None)
        try:
            public = exchange.check(request, name, bytes.fromhex(entry.verify_key))
        except _Broken as error:
            raise refuse(name, f'it is not its token: {error}', True) from None
        if entry.expires is None or entry.expires < time.time():
            raise refuse(name, 'the time of its token is over', True)
        if not rows.take(self._known.database, entry, public.hex()):
            raise refuse(name, 'its token was used before, by somebody else', True)
        if entry.taken_by is None:
            self._known.tell(name, ENROLLED, {})
        try:
            return exchange.answer(entry.bundle, public)
        except _Broken as error:
            raise refuse(name, str(error), True) from None


#: An argument of the methods above has the module's name.
_Broken = value.Broken
