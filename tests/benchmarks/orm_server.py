# SPDX-License-Identifier: Apache-2.0
"""What the conductor is compared with: one ORM get, set and commit for each report.

Usage: ``orm_server.py TRANSPORT_URL TOPIC DATABASE_URL``.  A stock listener of
oslo.messaging, with eventlet kept out.
"""

import sys
import threading

from guestagent import imports

imports.refuse('eventlet')

from oslo_service import backend  # noqa: E402

backend.init_backend(backend.BackendType.THREADING)

import oslo_messaging  # noqa: E402
import sqlalchemy as sa  # noqa: E402
from oslo_config import cfg  # noqa: E402
from sqlalchemy import orm  # noqa: E402

URL, TOPIC, DATABASE = sys.argv[1:]


class Base(orm.DeclarativeBase):
    """The tables."""


class Instance(Base):
    """What the newest heartbeat of an instance said."""

    __tablename__ = 'orm_instances'

    id: orm.Mapped[str] = orm.mapped_column(sa.String(200), primary_key=True)
    state: orm.Mapped[str] = orm.mapped_column(sa.String(8), default='UP')
    generation: orm.Mapped[str] = orm.mapped_column(sa.String(200), default='')
    sequence: orm.Mapped[int] = orm.mapped_column(sa.BigInteger, default=0)
    boot_id: orm.Mapped[str] = orm.mapped_column(sa.String(255), default='')
    agent_version: orm.Mapped[str] = orm.mapped_column(sa.String(64), default='')
    started: orm.Mapped[float] = orm.mapped_column(sa.Double, default=0.0)
    last_seen: orm.Mapped[float] = orm.mapped_column(sa.Double, default=0.0)


class Endpoint:
    """Takes notifications of priority INFO."""

    def __init__(self, engine):
        self._session = orm.sessionmaker(engine)

    def info(self, context, publisher_id, event_type, payload, metadata):
        """Write one report; it is acknowledged when this returns."""
        data = payload['data']
        with self._session() as session:
            instance = session.get(Instance, payload['instance'])
            if instance is None:
                instance = Instance(id=payload['instance'])
                session.add(instance)
            instance.state = 'UP'
            instance.generation = payload['generation']
            instance.sequence = payload['sequence']
            instance.boot_id = payload['boot_id']
            instance.agent_version = data['agent_version']
            instance.started = data['started']
            instance.last_seen = payload['sent']
            session.commit()


def main():
    """Serve until the process is killed."""
    engine = sa.create_engine(DATABASE)
    Base.metadata.create_all(engine)
    conf = cfg.CONF
    conf([])
    transport = oslo_messaging.get_notification_transport(conf, URL)
    listener = oslo_messaging.get_notification_listener(
        transport,
        [oslo_messaging.Target(exchange=TOPIC, topic=TOPIC)],
        [Endpoint(engine)],
        executor='threading',
    )
    listener.start()
    threading.Event().wait()


main()
