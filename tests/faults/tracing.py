# SPDX-License-Identifier: Apache-2.0
"""What strace saw of an agent, as the steps of :class:`tests.powercut.PowerCut`.

Beside those there are ``('sent', 0, data, None)``, what left for the bus, and ``('ran',
0, text, None)``, the mark of a command that ran.
"""

import re

#: What strace is to be told; it writes each text in full, and as hexadecimal numbers.
CALLS = (
    'openat,close,write,pwrite64,fdatasync,fsync,ftruncate,fallocate,rename,unlink,'
    'unlinkat,renameat,sendto,sendmsg'
)
OPTIONS = ['-f', '-qq', '-xx', '-s', '20000000', '-e', 'signal=none']

_WHOLE = re.compile(r'(\d+) +(\w+)\((.*)\) += (-?\d+)')
_BEGUN = re.compile(r'(\d+) +(\w+)\((.*) <unfinished \.\.\.>')
_ENDED = re.compile(r'(\d+) +<\.\.\. (\w+) resumed>(.*)\) += (-?\d+)')
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


def under(output):
    """Return the words that start a program under strace."""
    return ['strace', *OPTIONS, '-e', f'trace={CALLS}', '-o', str(output)]


class Trace:
    """Reads what strace has written.

    :param folder: the state folder; other files are passed over, but for ``marks``.
    :ivar steps: all, in their order.
    """

    def __init__(self, folder, marks):
        self._folder, self._marks = str(folder), str(marks)
        self._files = {}  # descriptor: inode, or the path of what is no state file
        self._inodes = {}  # path: inode
        self._syncing = {}  # inode: the steps that came while it was synced
        self._last = 0  # inode
        self._begun = {}  # thread: the beginning of its call
        self.steps = []

    def read(self, text):
        """Take all lines; return the steps."""
        for line in text.splitlines():
            if begun := _BEGUN.fullmatch(line):
                thread, call, arguments = begun.groups()
                self._begun[thread] = arguments
                self._enter(call, arguments)
            elif ended := _ENDED.match(line):
                thread, call, arguments, result = ended.groups()
                self._end(call, self._begun.pop(thread) + arguments, int(result))
            elif whole := _WHOLE.match(line):
                _, call, arguments, result = whole.groups()
                self._enter(call, arguments)
                self._end(call, arguments, int(result))
        return self.steps

    def _enter(self, call, arguments):
        """What counts from the beginning of a call."""
        if call in ('sendto', 'sendmsg'):
            for data in _texts(arguments):
                self.steps.append(('sent', 0, data, None))
        elif call in ('fdatasync', 'fsync'):
            # A write that comes meanwhile is not covered.
            self._syncing.setdefault(self._files.get(_number(arguments)), [])
        elif call == 'close':
            self._files.pop(_number(arguments), None)

    def _end(self, call, arguments, result):
        """What counts from the end of a call."""
        if result < 0:
            return
        if call == 'openat':
            self._open(arguments, result)
            return
        if call.startswith(('rename', 'unlink')):
            paths = [data.decode() for data in _texts(arguments)]
            if paths[0].startswith(self._folder):
                assert call == 'rename', f'{call} is not known here'
                self._inodes[paths[1]] = self._inodes.pop(paths[0])
                self.steps.append(('rename', 0, *paths))
            return
        inode = self._files.get(_number(arguments))
        if inode == self._marks and call == 'write':
            self.steps.append(('ran', 0, _texts(arguments)[0].decode().strip(), None))
        elif inode == self._folder:
            if call == 'fsync':
                self.steps.append(('sync_folder', 0, None, None))
        elif isinstance(inode, int):
            self._change(call, inode, arguments, result)

    def _open(self, arguments, descriptor):
        path = _texts(arguments)[0].decode()
        if path in (self._marks, self._folder):
            self._files[descriptor] = path
        elif path.startswith(f'{self._folder}/'):
            if path not in self._inodes:
                self._last += 1
                self._inodes[path] = inode = self._last
                self.steps.append(('name', inode, path, None))
            elif 'O_TRUNC' in arguments:
                self._note(('truncate', self._inodes[path], 0, None))
            self._files[descriptor] = self._inodes[path]

    def _change(self, call, inode, arguments, result):
        if call == 'pwrite64':
            *_, offset = arguments.rpartition(', ')
            data = _texts(arguments)[0][:result]
            self._note(('write', inode, int(offset), data))
        elif call == 'ftruncate':
            self._note(('truncate', inode, _number(arguments, 1), None))
        elif call == 'fallocate':
            # It only ever makes a file longer.
            size = _number(arguments, 2) + _number(arguments, 3)
            self._note(('extend', inode, size, None))
        elif call in ('fdatasync', 'fsync'):
            self.steps.append(('sync', inode, None, None))
            self.steps += self._syncing.pop(inode, [])
        else:
            raise AssertionError(f'{call} of a file of records is not known here')

    def _note(self, step):
        if step[1] in self._syncing:
            self._syncing[step[1]].append(step)
        else:
            self.steps.append(step)


def _number(arguments, place=0):
    return int(arguments.split(', ')[place].strip(' )'))


def _texts(arguments):
    return [bytes.fromhex(text.replace('\\x', '')) for text in _TEXT.findall(arguments)]
