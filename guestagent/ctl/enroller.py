# SPDX-License-Identifier: Apache-2.0
"""Enrol guests, and cut them off: the work behind ``guestctl instance enroll``."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from guestagent import errors
from guestagent.bus import topics
from guestagent.conf import enroll
from guestagent.ctl import accounts, models, rabbitmq
from guestagent.enroll import exchange, operator, token
from guestagent.seal import keys, value

#: Calls a command of a guest: instance, command, arguments.
Call = Callable[[str, str, Mapping[str, Any]], Any]
#: Sends what an operator says, and returns the answer.
Send = Callable[[str], Any]


class Operator:
    """Tells the conductor, sealed, what nobody else may tell it.

    :param lines: the conductor's master keys are among them.
    :raises guestagent.errors.ConfigError: they are not.
    """

    def __init__(self, lines: Sequence[keys.Line], send: Send) -> None:
        self._desk = operator.Desk(lines, time.time())
        self._send = send

    def tell(self, action: str, instance: str, **fields: Any) -> dict[str, Any]:
        """Tell it, and return the answer.

        :raises guestagent.errors.Refused: the conductor does not do it.
        :raises guestagent.errors.NotSealed: it was not the conductor who answered.
        """
        stamp = int(time.time() * 1000)
        said = {'action': action, 'instance': instance, 'stamp': stamp, **fields}
        text, nonce = self._desk.seal(said)
        try:
            answer = self._desk.open_answer(self._send(text), nonce)
        except value.Broken as error:
            raise errors.NotSealed(
                f'what came was not the answer of the conductor: {error}'
            ) from None
        if 'error' in answer:
            raise errors.Refused(f'the conductor refuses it: {answer["error"]}')
        return answer


class Enroller:
    """Speaks to the conductor and, where there is one, to RabbitMQ's HTTP API.

    :param lines: master keys of callers and of the conductor.
    :raises guestagent.errors.ConfigError: there are others among them, or none of the
        conductor.
    """

    def __init__(
        self,
        settings: accounts.Settings,
        lines: Sequence[keys.Line],
        api: rabbitmq.Api,
        send: Send,
    ) -> None:
        check_lines(lines)
        self._settings = settings
        self._lines = [line for line in lines if line.valid(time.time())]
        self._api = api
        self._tell = Operator(lines, send).tell
        self._model = models.MODELS[settings.model](api, settings)

    def enroll(
        self,
        instance: str,
        lifetime: float,
        again: bool = False,
        files: Mapping[str, str] | None = None,
    ) -> token.Token:
        """Prepare a guest; return its token.  A former one is worth nothing then.

        :param lifetime: of the token, in seconds.
        :param again: though the guest was cut off.
        :param files: PEM texts of ``certificate`` and ``certificate_key``, if the
            guest logs in by them.
        :raises guestagent.errors.Refused: the broker, or the conductor, does.
        """
        model = self._model
        if files and not model.is_own:
            raise errors.ConfigError(
                'a certificate is of no use where guests have no account of their '
                'own: [enroll] model'
            )
        password = None if files else accounts.new_password()
        guest_url = model.url(instance, password)
        accounts.make_token_account(self._api, self._settings)
        model.prepare(instance, password)
        made = token.new(
            instance, self._settings.token_url, int(time.time() + lifetime)
        )
        bundle = exchange.Bundle(self._keys(instance), guest_url, files or {})
        self._tell(
            operator.ENROLL,
            instance,
            again=again,
            vhost=model.vhost(instance),
            verify_key=exchange.verify_key(made.secret).hex(),
            bundle=exchange.seal(bundle, made.secret, instance),
            expires=made.expires,
        )
        return made

    def revoke(self, instance: str) -> list[str]:
        """Cut a guest off; return what it had of its own on the broker.

        :raises guestagent.errors.GuestAgentError: as :meth:`enroll`; what could be
            done is done.
        """
        try:
            return accounts.remove(self._api, self._settings, instance)
        finally:
            self._tell(operator.REVOKE, instance)

    def rotate(self, instance: str, overlap: float, call: Call) -> None:
        """Give a guest the keys of the present master keys, and another password.

        :param overlap: for how many seconds its keys before go on.
        :param call: calls a command of the guest, sealed with a key that it has.
        :raises guestagent.errors.GuestAgentError: as :meth:`enroll`, and what the
            guest raises.
        """
        arguments = {'keys': self._keys(instance), 'overlap': overlap}
        user = topics.request_topic(instance)
        there = self._api.get('users', user)
        if there is None or not there['password_hash']:
            call(instance, 'agent.rotate', arguments)
            return
        is_alone = self._api.get('vhosts', user) is not None
        kind = models.MODELS[enroll.VHOST if is_alone else enroll.EXCHANGE]
        password = accounts.new_password()
        url = kind(self._api, self._settings).url(instance, password)
        # First the guest, which tries both: the broker knows only one.
        call(instance, 'agent.rotate', {**arguments, 'transport_url': url})
        accounts.Account(self._api, user, '').make(password)

    def _keys(self, instance: str) -> list[str]:
        return [str(line.derive(instance)) for line in self._lines]


def check_lines(lines: Sequence[keys.Line]) -> None:
    """Look whether keys are such that guests get theirs of them.

    :raises guestagent.errors.ConfigError: they are not.
    """
    if not all(line.master for line in lines):
        raise errors.ConfigError(
            'there must be master keys (gam1-...), and nothing else'
        )
    if not any(line.use == keys.COMMANDS for line in lines):
        raise errors.ConfigError('there is no master key for commands')
