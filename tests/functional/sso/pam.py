# SPDX-License-Identifier: Apache-2.0
"""The PAM module of the extension sso, in a real PAM stack that a test makes."""

from __future__ import annotations

import hashlib
import json
import pathlib
import subprocess
import sys
from typing import Any, NamedTuple

SOURCE = pathlib.Path(__file__).parents[3] / 'extensions/sso'

#: pam_appl.h: what PAM returned, by the numbers that count here.
SUCCESS, SERVICE_ERR, AUTH_ERR, CRED_UNAVAIL = 0, 3, 7, 15

#: A program that authenticates, as a greeter does: its arguments are the folder of the
#: stacks, the user or '', and what it answers to a prompt.  It prints what came of it.
PROGRAM = """
import ctypes, ctypes.util, json, sys
folder, user, answer = sys.argv[1:]
pam, libc = ctypes.CDLL('libpam.so.0'), ctypes.CDLL(None)
libc.strdup.restype = ctypes.c_void_p
libc.calloc.restype = ctypes.c_void_p
class Message(ctypes.Structure):
    _fields_ = [('style', ctypes.c_int), ('text', ctypes.c_char_p)]
class Response(ctypes.Structure):
    _fields_ = [('text', ctypes.c_void_p), ('code', ctypes.c_int)]
Function = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int,
    ctypes.POINTER(ctypes.POINTER(Message)),
    ctypes.POINTER(ctypes.POINTER(Response)), ctypes.c_void_p)
class Conversation(ctypes.Structure):
    _fields_ = [('function', Function), ('data', ctypes.c_void_p)]
prompts = []
@Function
def converse(count, messages, responses, data):
    found = ctypes.cast(libc.calloc(count, ctypes.sizeof(Response)),
                        ctypes.POINTER(Response))
    for number in range(count):
        prompts.append(messages[number].contents.text.decode())
        found[number].text = libc.strdup(answer.encode())
    responses[0] = found
    return 0
handle = ctypes.c_void_p()
conversation = Conversation(converse, None)
code = pam.pam_start_confdir(b'greeter', user.encode() or None,
    ctypes.byref(conversation), folder.encode(), ctypes.byref(handle))
assert code == 0, code
code = pam.pam_authenticate(handle, 0)
item = ctypes.c_char_p()
pam.pam_get_item(handle, 2, ctypes.byref(item))
user = item.value.decode() if item.value else None
pam.pam_end(handle, code)
print(json.dumps({'code': code, 'prompts': prompts, 'user': user}))
"""


class Outcome(NamedTuple):
    """What came of an authentication.

    :ivar given: the user and the digest of the password that the next module got.
    """

    code: int
    user: str | None
    prompts: list[str]
    given: tuple[str, str] | None


def build(folder: pathlib.Path) -> pathlib.Path:
    """Build the module and return it."""
    make(folder, 'module')
    return folder / 'pam_guestagent.so'


def make(folder: pathlib.Path, *targets: str) -> str:
    """Run the Makefile, and return what it said."""
    words = [
        f'{folder}/pam_guestagent.so' if one == 'module' else one for one in targets
    ]
    done = subprocess.run(
        ['make', '--silent', '-C', SOURCE, f'BUILD={folder}', *words],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def digest(password: str) -> str:
    """Return what stands for a password in an :class:`Outcome`."""
    return hashlib.sha256(password.encode()).hexdigest()


def start(
    folder: pathlib.Path,
    module: pathlib.Path,
    arguments: str,
    token: str,
    user: str = '',
    **options: Any,
) -> subprocess.Popen[str]:
    """Begin an authentication in a folder of its own; :func:`finish` ends it."""
    folder.mkdir()
    program = folder / 'next'
    program.write_text(
        '#!/bin/sh\n'
        f"{{ printf '%s ' \"$PAM_USER\"; tr -d '\\000' | sha256sum; }} "
        f'>{folder}/given\n'
    )
    program.chmod(0o755)
    (folder / 'greeter').write_text(
        f'auth requisite {module} {arguments}\n'
        f'auth required pam_exec.so expose_authtok quiet {program}\n'
    )
    return subprocess.Popen(
        [sys.executable, '-S', '-c', PROGRAM, str(folder), user, token],
        stdout=subprocess.PIPE,
        text=True,
        **options,
    )


def finish(folder: pathlib.Path, child: subprocess.Popen[str]) -> Outcome:
    """Wait for an authentication's end, and tell what came of it."""
    printed, _ = child.communicate(timeout=120)
    assert child.returncode == 0
    said = json.loads(printed)
    given = None
    if (folder / 'given').exists():
        name, found, _dash = (folder / 'given').read_text().split()
        given = (name, found)
    return Outcome(said['code'], said['user'], said['prompts'], given)


def authenticate(folder: pathlib.Path, *words: Any, **options: Any) -> Outcome:
    """Authenticate; the arguments are those of :func:`start`."""
    return finish(folder, start(folder, *words, **options))
