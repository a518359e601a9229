# SPDX-License-Identifier: Apache-2.0
"""A cluster of RabbitMQ nodes that can lose some of them."""

import pathlib

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
            for number in range(size):
                node = servers.RabbitMQ(
                    folder / f'node-{number}', mapper=self._mapper, wait=False
                )
                self.nodes.append(node)
            for node in self.nodes:
                node.wait_ready()
            for node in self.nodes[1:]:
                node.ctl('stop_app')
                node.ctl('join_cluster', self.nodes[0].node)
                node.ctl('start_app')
        except BaseException:
            self.kill()
            raise

    def url_of(self, virtual_host: str) -> str:
        """Return the transport URL of a virtual host, with all nodes in order."""
        hosts = ','.join(f'guest:guest@127.0.0.1:{node.port}' for node in self.nodes)
        return f'rabbit://{hosts}/{virtual_host}'

    def kill(self) -> None:
        """End all of it as a power cut would; there is nothing to keep."""
        for node in self.nodes:
            node.kill()
        self._mapper.kill()
