# SPDX-License-Identifier: Apache-2.0
"""A real control plane of Trove: one broker, conductor and database.

Trove runs in an environment of its own, because it loads eventlet.
"""

from __future__ import annotations

import json
import pathlib
import subprocess
import urllib.parse
from typing import Any

import amqp
import pymysql

from devstack import databases, processes, servers, stack

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[2]
#: What ``devstack/prepare test`` makes.
TROVE = ROOT / 'build' / 'trove'

TROVE_CONF = """\
[DEFAULT]
transport_url = {url}
control_exchange = trove
trove_conductor_workers = 1
guest_config = {folder}/guest_config
agent_call_low_timeout = 180
[database]
connection = {database}
[oslo_messaging_notifications]
driver = messagingv2
"""


class Failed(Exception):
    """A call of the guest API failed.

    :ivar kind: the name of the exception's class.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f'{kind}: {message}')
        self.kind = kind


class Plane:
    """Trove's conductor, and the calls of its API and task manager.

    :ivar url: the transport URL.
    :ivar rabbit: the broker.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        rabbit: servers.RabbitMQ,
        database: databases.MariaDB,
    ) -> None:
        self.folder, self.rabbit, self._database = folder, rabbit, database
        self.url = url = rabbit.add_vhost('trove')
        self.config = folder / 'trove.conf'
        self.config.write_text(
            TROVE_CONF.format(url=url, folder=folder, database=_sql(database))
        )
        (folder / 'guest_config').write_text('')
        (folder / 'backups').mkdir()
        subprocess.run(
            [TROVE / 'bin' / 'trove-manage', '--config-file', self.config, 'db_sync'],
            check=True,
            capture_output=True,
            timeout=240,
        )
        self._notifications: list[dict[str, Any]] = []
        self._watch_notifications()
        self.conductor = self._conductor()
        self._driver = subprocess.Popen(
            [
                TROVE / 'bin' / 'python',
                HERE / 'driver.py',
                '--config-file',
                self.config,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(folder / 'driver.log').open('wb'),
            text=True,
        )
        self._read()
        self.wait_conductor()

    def ask(self, op: str, **arguments: Any) -> Any:
        """Have the driver do something.

        :raises Failed: it failed.
        """
        assert self._driver.stdin is not None
        self._driver.stdin.write(json.dumps({'op': op, **arguments}) + '\n')
        self._driver.stdin.flush()
        return self._read()

    def rows(self, statement: str, *values: Any) -> list[Any]:
        """Return what Trove's database has."""
        connection = pymysql.connect(
            host='127.0.0.1', port=self._database.port, user='root', database='trove'
        )
        with connection, connection.cursor() as cursor:
            cursor.execute(statement, values)
            return list(cursor.fetchall())

    def restart_conductor(self) -> None:
        """Stop the conductor and start it again."""
        self.conductor.stop()
        self.start_conductor()

    def start_conductor(self) -> None:
        """Start the conductor, which was stopped."""
        self.conductor = self._conductor()
        self.wait_conductor()

    def wait_conductor(self) -> None:
        """Wait until the conductor takes casts."""
        self.conductor.wait_for(
            lambda: stack.consumers(self.url, 'trove-conductor'), 'it takes casts', 120
        )

    def notifications(self) -> list[dict[str, Any]]:
        """Return Trove's own notifications, all that have come."""
        with self.connected() as connection:
            channel = connection.channel()
            while message := channel.basic_get('notifications.info', no_ack=True):
                body = json.loads(json.loads(message.body)['oslo.message'])
                self._notifications.append(body)
        return self._notifications

    def close(self) -> None:
        """Stop all of it."""
        assert self._driver.stdin is not None
        self._driver.stdin.close()
        self._driver.wait(120)
        self.conductor.stop()

    def _read(self) -> Any:
        assert self._driver.stdout is not None
        line = self._driver.stdout.readline()
        if not line:
            raise Failed('driver', (self.folder / 'driver.log').read_text()[-2000:])
        answer = json.loads(line)
        if 'error' in answer:
            raise Failed(answer['error'], answer['message'])
        return answer['result']

    def _conductor(self) -> processes.Process:
        return processes.Process(
            'trove-conductor',
            [TROVE / 'bin' / 'trove-conductor', '--config-file', self.config],
            self.folder / 'conductor.log',
        )

    def connected(self) -> amqp.Connection:
        """Return a connection to the broker."""
        parts = urllib.parse.urlsplit(self.url)
        return amqp.Connection(
            f'{parts.hostname}:{parts.port}', virtual_host=parts.path[1:]
        )

    def _watch_notifications(self) -> None:
        """Have a queue where Trove's own notifications go."""
        with self.connected() as connection:
            channel = connection.channel()
            name = 'notifications.info'
            channel.exchange_declare('trove', 'topic', auto_delete=False)
            channel.queue_declare(name, auto_delete=False)
            channel.queue_bind(name, 'trove', name)


def _sql(database: databases.MariaDB) -> str:
    """Make Trove's database; return its URL, as Trove's SQLAlchemy knows it."""
    return database.add('trove').replace('mariadb+', 'mysql+', 1)
