# SPDX-License-Identifier: Apache-2.0
"""For tests of extensions: one made as the agent makes it, and a host that records."""

import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from oslo_config import cfg

from guestagent import extension


class Host(extension.Host):
    """Keeps what is reported, each call as it came."""

    def __init__(self) -> None:
        self.facts: list[dict[str, Any]] = []

    def report_facts(self, extension: str, facts: Mapping[str, Any]) -> None:
        self.facts.append(dict(facts))


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
def make(host: Host) -> Callable[..., extension.Extension]:
    """``make(Class, name, option=value, ...)``: an extension with these options."""

    def made(
        kind: type[extension.Extension], name: str, **options: Any
    ) -> extension.Extension:
        conf = cfg.ConfigOpts()
        conf.register_opts(kind.list_options(), group=name)
        conf([], default_config_files=[], default_config_dirs=[])
        for option, value in options.items():
            conf.set_override(option, value, group=name)
        return kind(name, conf[name], host)

    return made


@pytest.fixture
def tree(tmp_path: pathlib.Path) -> Callable[..., str]:
    """``tree({path: content, ...})``: makes these files below a root, and names it.

    A content that is a path is where a symbolic link points to.
    """

    def plant(files: Mapping[str, str | bytes | pathlib.PurePath]) -> str:
        for path, content in files.items():
            file = tmp_path / path
            file.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, pathlib.PurePath):
                file.symlink_to(content)
            else:
                file.write_bytes(
                    content if isinstance(content, bytes) else content.encode()
                )
        return str(tmp_path)

    return plant
