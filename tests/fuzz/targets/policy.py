# SPDX-License-Identifier: Apache-2.0
"""Policies, and the arguments that they judge."""

from __future__ import annotations

import json
import os
from typing import Any

from guestagent import errors
from guestagent.agent.policy import rules
from guestagent.agent.policy import text as policies
from tests.fuzz import registry

_POLICY = """
[expected]
commands = exec.*, monitoring.*, file.read
[rule some]
callers = nova, plain:ops*, !plain:opsx
commands = exec.run, !exec.kill
arg.argv = /bin/ls -l * ...
arg.argv = !/bin/ls -l /etc/**
arg.user = "a*"
arg.user = b*c*d
arg.user = null
arg.env = LANG=*
arg.env = !LANG=C
arg.* = 60
arg.* = true
[rule paths]
callers = *
commands = file.*
arg.path = /srv/**
arg.path = !/srv/secret/**
"""


@registry.target(
    _POLICY.encode(),
    b'[rule x]\ncallers = a\ncommands = *\narg.a = [[1]]',
    b'[rule x]\ncallers=a\ncommands=a.b\narg.a=' + b'[' * 2000,
)
def policy_file(data: bytes) -> None:
    """A text is a policy that decides, or a mistake that is told with its line."""
    try:
        made = policies.parse(data.decode('utf-8', 'replace'), 'file')
    except errors.ConfigError as error:
        said = str(error)
        assert said.startswith('file')
        return
    for args in ({}, {'a': '/x/../y', 'b': ['x', 1, None]}, None, {'a': {'b': 1}}):
        _decide(made, args)


_policy = policies.parse(_POLICY, 'fuzz')


@registry.target(
    registry.dump({'argv': ['/bin/ls', '-l', 'x'], 'user': 'a*', 'env': {'LANG': 'x'}}),
    registry.dump({'path': '/srv/x'}),
    registry.dump({'path': {'/srv/../x': 1}}),
    registry.dump({'path': ['/srv/x/']}),
    registry.dump({'path': '/srv/../etc/shadow', 'x': 60.0, 'y': True}),
)
def policy_arguments(data: bytes) -> None:
    """Any arguments are decided on, and a path that leads elsewhere is refused."""
    try:
        args = json.loads(data)
    except (ValueError, RecursionError):
        return
    _decide(_policy, args)
    if _policy.find(rules.Caller('x', True), 'file.read', args):
        path = args['path']
        for each in [path] if isinstance(path, str) else path:
            assert each.startswith('/srv/')
            assert os.path.normpath(each) == each
            assert not each.startswith('/srv/secret/')


def _decide(policy: rules.Policy, args: Any) -> None:
    for who in (rules.Caller('nova', True), rules.Caller('ops\ud800', False)):
        for command in ('exec.run', 'file.read', 'a.b'):
            rule = policy.find(who, command, args)
            decision = policy.decide(who, command, args)
            assert decision.allowed == (rule is not None)
