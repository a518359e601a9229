# SPDX-License-Identifier: Apache-2.0
"""The stock client: oslo.messaging's RPCClient, as a control plane has it."""

import concurrent.futures
import statistics
import time

import oslo_messaging
from oslo_config import cfg

VALUE = 'hello'
TIMEOUT = 30


class Client:
    """Calls ``echo.echo`` on a topic through one transport."""

    def __init__(self, url: str, exchange: str) -> None:
        conf = cfg.CONF
        conf([])
        self._exchange = exchange
        self._transport = oslo_messaging.get_rpc_transport(conf, url)

    def close(self) -> None:
        """Close all connections."""
        self._transport.cleanup()

    def call(self, topic: str, calls: int = 1, method: str = 'echo') -> list[float]:
        """Make calls one after another and return the seconds of each.

        :raises oslo_messaging.MessagingTimeout: no reply came.
        """
        target = oslo_messaging.Target(
            exchange=self._exchange, topic=topic, namespace='echo', version='1.0'
        )
        client = oslo_messaging.get_rpc_client(self._transport, target, timeout=TIMEOUT)
        times = []
        for _ in range(calls):
            started = time.perf_counter()
            client.call({}, method, value=VALUE)
            times.append(time.perf_counter() - started)
        return times

    def p50(self, topic: str, calls: int, method: str = 'echo') -> float:
        """Return the median time of ``calls`` calls by one caller, in ms."""
        return statistics.median(self.call(topic, calls, method)) * 1000

    def burst(self, topic: str, callers: int = 32, calls: int = 20) -> None:
        """Let ``callers`` threads make ``calls`` calls each at the same time."""
        with concurrent.futures.ThreadPoolExecutor(callers) as pool:
            for future in [
                pool.submit(self.call, topic, calls) for _ in range(callers)
            ]:
                future.result()
