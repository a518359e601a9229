# SPDX-License-Identifier: Apache-2.0
"""A cluster of RabbitMQ nodes that can lose some of them."""

import pathlib
from collections.abc import Mapping

from devstack import servers


class Cluster:
    """RabbitMQ nodes that share queues; it runs when it is made.

    :param folder: for everything that they write.
    :ivar nodes: each may be killed and started again by itself.
    :raises devstack.processes.Failed: they do not come together.
    """

    def __init__(self, folder: pathlib.Path, size: int = 3) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._mapper = servers.Mapper()
        self.nodes: list[servers.RabbitMQ] = []
        try:
            self._mapper.start(folder)
            first = self._add(folder)
            first.wait_ready()
            # With that there, the others join it as they start for the first time.
            for _ in range(1, size):
                self._add(
                    folder,
                    {
                        'cluster_formation.peer_discovery_backend': 'classic_config',
                        'cluster_formation.classic_config.nodes.1': first.node,
                    },
                )
            for node in self.nodes[1:]:
                node.wait_ready()
        except BaseException:
            self.kill()
            raise

    def _add(
        self, folder: pathlib.Path, settings: Mapping[str, str] | None = None
    ) -> servers.RabbitMQ:
        """Start a node."""
        node = servers.RabbitMQ(
            folder / f'node-{len(self.nodes)}',
            settings,
            mapper=self._mapper,
            wait=False,
        )
        self.nodes.append(node)
        return node

    def url_of(self, virtual_host: str) -> str:
        """Return the transport URL of a virtual host, with all nodes in order."""
        hosts = ','.join(f'guest:guest@127.0.0.1:{node.port}' for node in self.nodes)
        return f'rabbit://{hosts}/{virtual_host}'

    def kill(self) -> None:
        """End all of it as a power cut would; there is nothing to keep."""
        for node in self.nodes:
            node.kill()
        self._mapper.kill()
