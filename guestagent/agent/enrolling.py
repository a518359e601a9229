# SPDX-License-Identifier: Apache-2.0
"""The first start of a guest that was handed a token: it gets its keys for it.

The token names an account that may do nothing but this.  It is moved into the state
folder as soon as it is there, while the agent is who it was started as, and exchanged
by who the agent is from then on: what speaks to the bus need not be root.  What the
guest gets lies in its state folder, readable by its owner only, and the token is
deleted.  A key pair is made for the exchange and kept until it is over, so that a guest
that loses its power in between asks again and is the same to the conductor.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
from typing import Any

from guestagent import errors, systemd
from guestagent.agent import state
from guestagent.bus import attempts, once, reasons, topics
from guestagent.conf import config
from guestagent.enroll import exchange, token
from guestagent.seal import keys, value

LOG = logging.getLogger(__name__)

#: May hold the token, in place of the file.
VARIABLE = 'GUESTAGENT_TOKEN'  # guestagent.cmd.agent names it too

#: How often it is looked for the token's file, in seconds.
LOOK = 1.0
#: Seconds until the next attempt: the first, what is added by chance, the longest.
RETRY = attempts.Retry(1.0, 2.0, 60.0)

#: What lies in the state folder.
ENROLLED, KEYS, _SEED, _TOKEN = 'enrolled', 'keys', 'enrolling', 'token'
#: The files of a bundle, and the options of the URL that name them.
_FILES = {'certificate': 'ssl_cert_file', 'certificate_key': 'ssl_key_file'}
#: What may go wrong on the way to the keys.
_FAILURES = (*once.LOST, value.Broken, errors.Refused)
#: How long the conductor has for an answer, in seconds.
_SECONDS = 20.0


def fetch(conf: config.Config, notifier: systemd.Notifier) -> None:
    """Move the token into the state folder; wait for it, unless that was done once.

    :raises guestagent.errors.ConfigError: there is no token in what should be one, or
        the state folder cannot be used.
    :raises guestagent.errors.StorageError: the token cannot be kept there.
    """
    state.prepare(conf.state_dir)
    is_enrolled = read(conf) is not None
    if not is_enrolled:
        # The guest's boot must wait neither for the token nor for the conductor.
        notifier.ready()
    if not _move_token(conf) and not is_enrolled and find_token(conf) is None:
        text = f'waiting for a token in {conf.enroll.token_file}'
        LOG.warning('%s', text)
        notifier.status(text)
        while not _move_token(conf):
            _sleep(LOOK, notifier)


def ensure(conf: config.Config, notifier: systemd.Notifier) -> None:
    """Enrol, unless that was done; take over what the guest has got.

    Another token than the one that was used is tried once at each start, until the
    conductor has judged it.

    :raises guestagent.errors.ConfigError: there is no token in what should be one.
    :raises guestagent.errors.StorageError: what the guest got cannot be kept.
    """
    before, found = read(conf), find_token(conf)
    enrolment = _Enrolment(conf, notifier)
    is_judged = True
    if before is None and found is not None:
        enrolment.run(found)
    elif before is not None and found is not None and _name(found) != before['token']:
        is_judged = enrolment.renew(found)
    take_over(conf)
    if is_judged:
        _forget_token(conf)


def take_over(conf: config.Config) -> None:
    """Let what the guest got count, if it was enrolled.

    :raises guestagent.errors.ConfigError: it cannot be read.
    """
    fields = read(conf)
    if fields is None:
        return
    conf.give('instance_id', fields['instance'])
    if fields['url']:
        conf.give('transport_url', fields['url'])
    conf.give('key_file', path_of(conf, KEYS), 'seal')
    conf.give('key_command', '', 'seal')


def read(conf: Any) -> dict[str, str] | None:
    """Return what an exchange has left; ``None``: there was none."""
    path = path_of(conf, ENROLLED)
    try:
        with open(path, encoding='utf-8') as file:
            fields = json.load(file)
        return {name: str(fields[name]) for name in ('instance', 'url', 'token')}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise errors.ConfigError(
            f'{path}: {error}; delete it and give the guest another token'
        ) from None


class _Enrolment:
    """Goes on until it has the keys."""

    def __init__(self, conf: config.Config, notifier: systemd.Notifier) -> None:
        self._conf = conf
        self._notifier = notifier
        self._backoff = attempts.Backoff(RETRY)

    def run(self, found: token.Token) -> None:
        """Wait for the conductor."""
        self._notifier.status(f'instance {found.instance}: getting its keys')
        while True:
            try:
                self._exchange(found)
                return
            except _FAILURES as error:
                wait = self._backoff.failed()
                LOG.warning(
                    'the token of %s could not be exchanged yet: %s; next attempt in '
                    '%.1f s',
                    found.instance,
                    reasons.explain(error),
                    wait,
                )
                _sleep(wait, self._notifier)

    def renew(self, found: token.Token) -> bool:
        """Try a token that is not the one that was used; return if it was judged."""
        try:
            self._exchange(found)
        except _FAILURES as error:
            LOG.warning(
                'another token is there and could not be exchanged, so that what '
                'came for the one before still counts: %s',
                reasons.explain(error),
            )
            return isinstance(error, errors.Refused)
        return True

    def _exchange(self, found: token.Token) -> None:
        guest = exchange.Guest(found.instance, found.secret, self._seed())
        name = topics.request_topic(found.instance)
        connection = once.connect(self._conf, found.url, name)
        try:
            bundle = guest.open(
                once.ask(
                    connection,
                    exchange.TOPIC,
                    {
                        'namespace': exchange.NAMESPACE,
                        'method': exchange.METHOD,
                        'version': exchange.VERSION,
                        'args': {'instance': found.instance, 'value': guest.request()},
                    },
                    exchange.REPLY_QUEUE,
                    _SECONDS,
                )
            )
        finally:
            connection.collect()
        self._keep(found, bundle)
        LOG.info('instance %s is enrolled', found.instance)

    def _seed(self) -> bytes:
        """Return the seed of the key pair, the same until the exchange is over."""
        path = path_of(self._conf, _SEED)
        try:
            with open(path, 'rb') as file:
                seed = file.read()
        except FileNotFoundError:
            seed = b''
        if len(seed) != exchange.KEY_SIZE:
            seed = os.urandom(exchange.KEY_SIZE)
            write(path, seed)
        return seed

    def _keep(self, found: token.Token, bundle: exchange.Bundle) -> None:
        """Write what came; the file that says that all is there comes last."""
        lines = ''.join(f'{line}\n' for line in bundle.keys)
        keys.GuestRing(keys.parse(lines, 'the keys that came for the token'))
        write(path_of(self._conf, KEYS), lines.encode())
        url = bundle.url
        for name, option in _FILES.items():
            if name in bundle.files:
                path = path_of(self._conf, f'{name}.pem')
                write(path, bundle.files[name].encode())
                url += f'{"&" if "?" in url else "?"}{option}={path}'
        fields = {'instance': found.instance, 'url': url, 'token': _name(found)}
        write(path_of(self._conf, ENROLLED), json.dumps(fields).encode())
        os.unlink(path_of(self._conf, _SEED))


def _sleep(seconds: float, notifier: systemd.Notifier) -> None:
    """Sleep, and feed the watchdog meanwhile."""
    until = time.monotonic() + seconds
    step = (notifier.watchdog or 60.0) / 3
    while (left := until - time.monotonic()) > 0:
        notifier.alive()
        time.sleep(min(left, step))


def find_token(conf: Any) -> token.Token | None:
    """Return the guest's token, which was moved or is in the environment.

    :raises guestagent.errors.ConfigError: it is none.
    """
    given = os.environ.get(VARIABLE)
    if given:
        return token.parse(given, f'the environment variable {VARIABLE}')
    return _read_token(path_of(conf, _TOKEN))


def _read_token(path: str) -> token.Token | None:
    try:
        with open(path, encoding='utf-8') as file:
            text = file.read(token.LENGTH_MAX + 1)
        # Who makes the file may not have written to it yet.
        return token.parse(text, path) if text.strip() else None
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise errors.ConfigError(f'[enroll] token_file: {path}: {error}') from None


def _move_token(conf: Any) -> bool:
    """Move the token into the state folder; return whether there is one."""
    path = conf.enroll.token_file
    found = _read_token(path) if path else None
    if found is None:
        return False
    write(path_of(conf, _TOKEN), str(found).encode())
    try:
        os.unlink(path)
    except OSError as error:
        LOG.warning(
            'the token in %s could not be deleted: %s', path, error.strerror or error
        )
    return True


def _name(found: token.Token) -> str:
    """Return what a token is known by, which is no secret."""
    return exchange.verify_key(found.secret).hex()


def write(path: str, content: bytes) -> None:
    """Write a file for this user alone, whole and synced, in place of any before.

    :raises guestagent.errors.StorageError: it cannot be.
    """
    new = f'{path}.new'
    folder = os.path.dirname(path)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(new)
        # Who writes may be root, and the folder another user's: no link is followed.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with open(os.open(new, flags, 0o600), 'wb') as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        raise errors.StorageError(
            f'{path} cannot be written: {error.strerror or error}'
        ) from error


def _forget_token(conf: config.Config) -> None:
    """Delete the token, which is of no use any more."""
    os.environ.pop(VARIABLE, None)
    path = path_of(conf, _TOKEN)
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        LOG.warning(
            'the token in %s is used, and could not be deleted: %s',
            path,
            error.strerror or error,
        )


def path_of(conf: Any, name: str) -> str:
    """Return the path of a file in the state folder."""
    return os.path.join(conf.state_dir, name)
