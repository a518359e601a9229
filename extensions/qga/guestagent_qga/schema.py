# SPDX-License-Identifier: Apache-2.0
"""All commands of the channel with their types: the one table of them.

What checks arguments, answers ``guest-info``, is tested and documented comes from here.
Names and types are those of qemu-ga 10.2; ``base64`` is its ``str``, in base64.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

# Name, module of guestagent_qga.commands, arguments, what is returned. A name that ends
# with "!" gives no answer when it succeeds; one with "*" takes no time.
_COMMANDS = """
guest-sync-delimited*            own        id:int -> int
guest-sync*                      own        id:int -> int
guest-ping*                      own        ->
guest-get-time                   power      -> int
guest-set-time                   power      time?:int ->
guest-info*                      own        -> GuestAgentInfo
guest-shutdown!                  power      mode?:str ->
guest-file-open                  files      path:str mode?:str -> int
guest-file-close                 files      handle:int ->
guest-file-read                  files      handle:int count?:int -> GuestFileRead
guest-file-write                 files      handle:int buf-b64:base64 count?:int \
-> GuestFileWrite
guest-file-seek                  files      handle:int offset:int \
whence:GuestFileWhence -> GuestFileSeek
guest-file-flush                 files      handle:int ->
guest-fsfreeze-status            freeze     -> GuestFsfreezeStatus
guest-fsfreeze-freeze            freeze     -> int
guest-fsfreeze-freeze-list       freeze     mountpoints?:[str] -> int
guest-fsfreeze-thaw              freeze     -> int
guest-fstrim                     freeze     minimum?:int -> GuestFilesystemTrimResponse
guest-suspend-disk!              power      ->
guest-suspend-ram!               power      ->
guest-suspend-hybrid!            power      ->
guest-network-get-interfaces     facts      -> [GuestNetworkInterface]
guest-get-vcpus                  hardware   -> [GuestLogicalProcessor]
guest-set-vcpus                  hardware   vcpus:[GuestLogicalProcessor] -> int
guest-get-disks                  facts      -> [GuestDiskInfo]
guest-get-fsinfo                 facts      -> [GuestFilesystemInfo]
guest-set-user-password          accounts   username:str password:base64 crypted:bool ->
guest-get-memory-blocks          hardware   -> [GuestMemoryBlock]
guest-set-memory-blocks          hardware   mem-blks:[GuestMemoryBlock] \
-> [GuestMemoryBlockResponse]
guest-get-memory-block-info      hardware   -> GuestMemoryBlockInfo
guest-exec-status                programs   pid:int -> GuestExecStatus
guest-exec                       programs   path:str arg?:[str] env?:[str] \
input-data?:base64 capture-output?:GuestExecCaptureOutput -> GuestExec
guest-get-host-name              facts      -> GuestHostName
guest-get-users                  facts      -> [GuestUser]
guest-get-timezone               facts      -> GuestTimezone
guest-get-osinfo                 facts      -> GuestOSInfo
guest-get-devices                -          -> [GuestDeviceInfo]
guest-ssh-get-authorized-keys    accounts   username:str -> GuestAuthorizedKeys
guest-ssh-add-authorized-keys    accounts   username:str keys:[str] reset?:bool ->
guest-ssh-remove-authorized-keys accounts   username:str keys:[str] ->
guest-get-diskstats              facts      -> [GuestDiskStatsInfo]
guest-get-cpustats               facts      -> [GuestCpuStats]
guest-get-load                   facts      -> GuestLoadAverage
guest-network-get-route          facts      -> [GuestNetworkRoute]
"""

# A type's name and its members; "|" divides the values of an enumeration, "/" what an
# alternate may be, and "<member>=<value>" begins what a union has in that case.
_TYPES = """
GuestAgentCommandInfo name:str enabled:bool success-response:bool
GuestAgentInfo version:str supported_commands:[GuestAgentCommandInfo]
GuestFileRead count:int buf-b64:base64 eof:bool
GuestFileWrite count:int eof:bool
GuestFileSeek position:int eof:bool
QGASeek set|cur|end
GuestFileWhence int/QGASeek
GuestFsfreezeStatus thawed|frozen
GuestFilesystemTrimResult path:str trimmed?:int minimum?:int error?:str
GuestFilesystemTrimResponse paths:[GuestFilesystemTrimResult]
GuestIpAddressType ipv4|ipv6
GuestIpAddress ip-address:str ip-address-type:GuestIpAddressType prefix:int
GuestNetworkInterfaceStat rx-bytes:uint64 rx-packets:uint64 rx-errs:uint64 \
rx-dropped:uint64 tx-bytes:uint64 tx-packets:uint64 tx-errs:uint64 tx-dropped:uint64
GuestNetworkInterface name:str hardware-address?:str ip-addresses?:[GuestIpAddress] \
statistics?:GuestNetworkInterfaceStat
GuestLogicalProcessor logical-id:int online:bool can-offline?:bool
GuestDiskBusType ide|fdc|scsi|virtio|xen|usb|uml|sata|sd|unknown|ieee1394|ssa|fibre|\
raid|iscsi|sas|mmc|virtual|file-backed-virtual|nvme
GuestPCIAddress domain:int bus:int slot:int function:int
GuestCCWAddress cssid:int ssid:int subchno:int devno:int
GuestDiskAddress pci-controller:GuestPCIAddress bus-type:GuestDiskBusType bus:int \
target:int unit:int serial?:str dev?:str ccw-address?:GuestCCWAddress
GuestNVMeSmart critical-warning:int temperature:int available-spare:int \
available-spare-threshold:int percentage-used:int data-units-read-lo:uint64 \
data-units-read-hi:uint64 data-units-written-lo:uint64 data-units-written-hi:uint64 \
host-read-commands-lo:uint64 host-read-commands-hi:uint64 \
host-write-commands-lo:uint64 host-write-commands-hi:uint64 \
controller-busy-time-lo:uint64 controller-busy-time-hi:uint64 power-cycles-lo:uint64 \
power-cycles-hi:uint64 power-on-hours-lo:uint64 power-on-hours-hi:uint64 \
unsafe-shutdowns-lo:uint64 unsafe-shutdowns-hi:uint64 media-errors-lo:uint64 \
media-errors-hi:uint64 number-of-error-log-entries-lo:uint64 \
number-of-error-log-entries-hi:uint64
GuestDiskSmart type:GuestDiskBusType type=nvme:GuestNVMeSmart
GuestDiskInfo name:str partition:bool dependencies?:[str] address?:GuestDiskAddress \
alias?:str smart?:GuestDiskSmart
GuestFilesystemInfo name:str mountpoint:str type:str used-bytes?:uint64 \
total-bytes?:uint64 total-bytes-privileged?:uint64 disk:[GuestDiskAddress]
GuestMemoryBlock phys-index:uint64 online:bool can-offline?:bool
GuestMemoryBlockResponseType success|not-found|operation-not-supported|operation-failed
GuestMemoryBlockResponse phys-index:uint64 response:GuestMemoryBlockResponseType \
error-code?:int
GuestMemoryBlockInfo size:uint64
GuestExecCaptureOutputMode none|stdout|stderr|separated|merged
GuestExecCaptureOutput bool/GuestExecCaptureOutputMode
GuestExecStatus exited:bool exitcode?:int signal?:int out-data?:base64 \
err-data?:base64 out-truncated?:bool err-truncated?:bool
GuestExec pid:int
GuestHostName host-name:str
GuestUser user:str login-time:number domain?:str
GuestTimezone zone?:str offset:int
GuestOSInfo kernel-release?:str kernel-version?:str machine?:str id?:str name?:str \
pretty-name?:str version?:str version-id?:str variant?:str variant-id?:str
GuestDeviceType pci
GuestDeviceIdPCI vendor-id:uint16 device-id:uint16
GuestDeviceId type:GuestDeviceType type=pci:GuestDeviceIdPCI
GuestDeviceInfo driver-name:str driver-date?:int driver-version?:str id?:GuestDeviceId
GuestAuthorizedKeys keys:[str]
GuestDiskStats read-sectors?:uint64 read-ios?:uint64 read-merges?:uint64 \
write-sectors?:uint64 write-ios?:uint64 write-merges?:uint64 discard-sectors?:uint64 \
discard-ios?:uint64 discard-merges?:uint64 flush-ios?:uint64 read-ticks?:uint64 \
write-ticks?:uint64 discard-ticks?:uint64 flush-ticks?:uint64 ios-pgr?:uint64 \
total-ticks?:uint64 weight-ticks?:uint64
GuestDiskStatsInfo name:str major:uint64 minor:uint64 stats:GuestDiskStats
GuestCpuStatsType linux
GuestLinuxCpuStats cpu:int user:uint64 nice:uint64 system:uint64 idle:uint64 \
iowait?:uint64 irq?:uint64 softirq?:uint64 steal?:uint64 guest?:uint64 guestnice?:uint64
GuestCpuStats type:GuestCpuStatsType type=linux:GuestLinuxCpuStats
GuestLoadAverage load1m:number load5m:number load15m:number
GuestNetworkRoute iface:str destination:str metric:int gateway?:str mask?:str \
irtt?:int flags?:uint64 refcnt?:int use?:int window?:int mtu?:int desprefixlen?:str \
source?:str srcprefixlen?:str nexthop?:str version:int
"""

#: What types are made of.
SIMPLE = ('str', 'base64', 'int', 'uint16', 'uint64', 'number', 'bool')


class Member(NamedTuple):
    """A member of a structure, or an argument; ``type`` as :class:`Type` names it."""

    name: str
    type: str
    optional: bool


class Type(NamedTuple):
    """A type: one of the three is not empty.

    :ivar members: of a structure.
    :ivar values: of an enumeration.
    :ivar choices: the types of an alternate.
    :ivar cases: of a union: the values of the member ``type``, and the structure whose
        members it then has.
    """

    name: str
    members: tuple[Member, ...] = ()
    values: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    cases: tuple[tuple[str, str], ...] = ()


class Command(NamedTuple):
    """A command.

    :ivar topic: the module of :mod:`guestagent_qga.commands`; ``''``: Linux has none.
    :ivar returns: the name of a type, ``[type]`` for a list; ``''``: nothing.
    :ivar answers: whether it says so when it succeeds.
    :ivar quick: it is answered without a worker.
    """

    name: str
    topic: str
    arguments: tuple[Member, ...]
    returns: str
    answers: bool
    quick: bool

    @property
    def function(self) -> str:
        """The name of what answers it."""
        return self.name.removeprefix('guest-').replace('-', '_')


def _lines(text: str) -> list[list[str]]:
    return [line.split() for line in text.strip().splitlines()]


def _members(words: list[str]) -> tuple[Member, ...]:
    found = []
    for word in words:
        name, _, kind = word.partition(':')
        found.append(Member(name.rstrip('?'), kind, name.endswith('?')))
    return tuple(found)


def _command(words: list[str]) -> Command:
    name, topic, *rest = words
    arrow = rest.index('->')
    return Command(
        name.rstrip('*!'),
        topic.strip('-'),
        _members(rest[:arrow]),
        ''.join(rest[arrow + 1 :]),
        not name.endswith('!'),
        name.endswith('*'),
    )


#: In the order in which qemu-ga lists them.
COMMANDS = {found.name: found for found in map(_command, _lines(_COMMANDS))}


@functools.cache
def types() -> dict[str, Type]:
    """Return all types by name; few commands need any."""
    return {words[0]: _type(*words) for words in _lines(_TYPES)}


def _type(name: str, first: str, *rest: str) -> Type:
    if '/' in first:
        return Type(name, choices=tuple(first.split('/')))
    if ':' not in first:
        return Type(name, values=tuple(first.split('|')))
    cases = [word.removeprefix('type=') for word in rest if word.startswith('type=')]
    members = [word for word in (first, *rest) if not word.startswith('type=')]
    return Type(
        name,
        members=_members(members),
        cases=tuple((case, kind) for case, _, kind in map(_halves, cases)),
    )


def _halves(text: str) -> tuple[str, str, str]:
    return text.partition(':')


def describe(command: Command) -> tuple[str, str]:
    """Return its arguments, and what it returns, for people."""
    words = [
        f'{each.name}{"?" if each.optional else ""}: {each.type}'
        for each in command.arguments
    ]
    returns = command.returns or ('{}' if command.answers else 'no answer')
    return ', '.join(words), returns
