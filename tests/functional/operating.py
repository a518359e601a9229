# SPDX-License-Identifier: Apache-2.0
"""systemd and Prometheus as the services see them."""

import http.client
import os
import signal
import socket

from prometheus_client import parser

from devstack import processes


class Manager:
    """systemd's end of the notification socket; made, it is in the environment."""

    def __init__(self, folder, monkeypatch, seconds=None):
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(folder / 'notify'))
        self._socket.setblocking(False)
        self.heard = []
        monkeypatch.setenv('NOTIFY_SOCKET', str(folder / 'notify'))
        if seconds is not None:
            monkeypatch.setenv('WATCHDOG_USEC', str(int(seconds * 1e6)))

    def read(self):
        while True:
            try:
                self.heard.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                return self.heard

    def stop(self, child):
        """Stop a service as systemd does, and hear all that it says meanwhile.

        What nobody takes soon is lost: the socket holds ten.
        """
        os.kill(child.pid, signal.SIGTERM)
        processes.wait_for(lambda: self.read() and not child.running, 'it has ended')
        self.read()
        return child.stop()

    def wait(self, child, what, times=1):
        child.wait_for(
            lambda: len([text for text in self.read() if what in text]) >= times,
            f'systemd is told {what!r} {times} times; it heard {self.heard}',
        )


def ask(port, path='/metrics'):
    """Return (status, text) of a page."""
    connection = http.client.HTTPConnection('127.0.0.1', port, timeout=60)
    try:
        connection.request('GET', path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def metrics(port):
    """Return all samples as {'name{label="value"}': value}, read as Prometheus does."""
    status, text = ask(port)
    assert status == 200
    found = {}
    for family in parser.text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ','.join(
                f'{name}="{value}"' for name, value in sorted(sample.labels.items())
            )
            found[sample.name + (f'{{{labels}}}' if labels else '')] = sample.value
    return found
