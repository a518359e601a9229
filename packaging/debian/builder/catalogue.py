# SPDX-License-Identifier: Apache-2.0
"""The packages of this tree: six of the core, and one for each extension."""

from __future__ import annotations

import configparser
import importlib.metadata
import pathlib
import re
import subprocess
import sysconfig

from builder import bundle, deb, scripts

ROOT = pathlib.Path(__file__).resolve().parents[3]
_TEMPLATES = ROOT / 'packaging/debian'
_SAMPLES = ROOT / 'etc/guestagent'

#: Where the packages put Python modules: one folder each, so that the agent sees no
#: library of the conductor, and two extensions may bring the same library.
COMMON, SEAL, CLIENT, CONDUCTOR, EXTENSIONS = (
    f'/usr/lib/guestagent/{name}'
    for name in ('common', 'seal', 'client', 'conductor', 'extensions')
)

#: Where each program looks for modules after Python's own; patterns of glob.
PATHS = {
    'guestagent': [
        COMMON,
        SEAL,
        f'{EXTENSIONS}/*',
        '/usr/local/lib/guestagent/extensions/*',
        # oslo.messaging, for the bus that is made of it.
        CLIENT,
    ],
    'guestctl': [COMMON, SEAL, CLIENT, '/usr/local/lib/guestagent/commands/*'],
    'guestagent-conductor': [COMMON, SEAL, CLIENT, CONDUCTOR],
    'guestagent-hub': [COMMON],
    'guestagent-qga': [COMMON, f'{EXTENSIONS}/*'],
    # It is in each desktop's session, and needs nothing of the agent.
    'guestagent-session': [f'{EXTENSIONS}/sso'],
}

#: The manual pages of each package.
_MANUAL = {
    'guestagent': ('guestagent.8', 'guestagent.conf.5'),
    'guestagent-client': ('guestctl.1',),
    'guestagent-conductor': ('guestagent-conductor.8', 'guestagent-conductor.conf.5'),
    'guestagent-hub': ('guestagent-hub.8',),
    'guestagent-qga': ('guestagent-qga.8',),
}

#: oslo.config writes samples with the one, and would read a configuration over HTTP
#: with the other; guestctl brings both.
_NOT_COMMON = ['pyyaml', 'requests']


#: What the package says of extensions that must be root's.  An agent without one starts
#: no process for it.
_ROOTS = """
#
# From the package: the agent is the user guestagent, and {name} is root's, in a process
# of its own that nothing limits.
# {more}
#

isolate = true
isolate_user = root
isolate_memory = 0
isolate_cpu = 0
isolate_cpu_time = 0
isolate_files = {files}
"""
_SHORT = 'Its process is there while something is done.'
_SECTIONS = {
    name: _ROOTS.format(name=name, more=more, files=files)
    for name, more, files in (
        ('accounts', _SHORT, 8192),
        ('datastore', 'It stays there, to watch the server.', 65536),
        (
            'exec',
            'Whoever wants exec to have fewer rights names another isolate_user.',
            8192,
        ),
        ('file', 'Its process is there while a file is open.', 8192),
        ('fsfreeze', 'Its process is there while something is frozen.', 8192),
        ('hardware', _SHORT, 8192),
        ('power', _SHORT, 8192),
        ('sso', _SHORT, 8192),
    )
}
_SECTIONS['datastore'] += 'isolate_idle = 0\n'
_SECTIONS['sso'] += '# With it ends what was a password.\nisolate_idle = 10\n'

#: What extensions need, and not every system has.
_PROGRAMS = {'datastore': ('zstd',), 'sso': ('libc6', 'libpam0g')}


class Catalogue:
    """Describes all packages.

    :param revision: the last part of their versions.
    :param manual: the folder of the manual pages.
    :ivar sources: this project's distributions and where their source is.
    :raises builder.bundle.BundleError: the environment lacks what they hold.
    """

    def __init__(self, revision: str, manual: pathlib.Path) -> None:
        self._revision = revision
        self._manual = manual
        self.sources = {'guestagent': ROOT}
        for folder in sorted((ROOT / 'extensions').iterdir()):
            if (folder / 'setup.cfg').exists():
                config = configparser.ConfigParser(interpolation=None)
                config.read(folder / 'setup.cfg')
                self.sources[config['metadata']['name']] = folder
        self._common = bundle.Bundle(COMMON, ['guestagent'], without=_NOT_COMMON)

    def packages(self) -> list[deb.Package]:
        """Return them all."""
        present = self._common.names
        seal = bundle.Bundle(SEAL, ['guestagent[seal]'], present)
        present += seal.names
        client = bundle.Bundle(CLIENT, ['guestagent[client,ctl]'], present)
        present += client.names
        conductor = bundle.Bundle(
            CONDUCTOR, ['guestagent[conductor,postgresql,mariadb]'], present
        )
        return [
            self._package('guestagent-common', self._common),
            self._package('guestagent-seal', seal),
            self._agent(),
            self._client(client),
            self._conductor(conductor),
            self._hub(),
            *(self._extension(name) for name in self.sources if name != 'guestagent'),
        ]

    def _agent(self) -> deb.Package:
        package = self._package('guestagent')
        _add_command(package, 'guestagent')
        _add_service(
            package,
            [COMMON, SEAL, EXTENSIONS],
            ('agent.conf', _agent_options()),
            account='guestagent',
        )
        _add_drop_in(package, 'guestagent-hub', 'agent')
        _add_rules(package)
        package.folders.append(EXTENSIONS.lstrip('/'))
        # Not below /etc: a policy counts only where an operator names one.
        example = f'usr/share/doc/{package.name}/examples/policy.conf'
        package.files[example] = (_SAMPLES / 'policy.conf').read_text()
        return package

    def _client(self, python: bundle.Bundle) -> deb.Package:
        package = self._package('guestagent-client', python)
        _add_command(package, 'guestctl')
        package.files['usr/share/bash-completion/completions/guestctl'] = _completion()
        # Not below /etc: it is an error for users who may not read it.
        example = f'usr/share/doc/{package.name}/examples/guestctl.conf'
        package.files[example] = (_SAMPLES / 'guestctl.conf').read_text()
        return package

    def _conductor(self, python: bundle.Bundle) -> deb.Package:
        package = self._package('guestagent-conductor', python)
        _add_command(package, 'guestagent-conductor')
        text = (_SAMPLES / 'conductor.conf').read_text()
        _add_service(package, [COMMON, SEAL, CLIENT], ('conductor.conf', text))
        return package

    def _hub(self) -> deb.Package:
        package = self._package('guestagent-hub')
        _add_command(package, 'guestagent-hub')
        _add_service(package, [COMMON])
        package.files['etc/default/guestagent-hub'] = (
            ROOT / 'etc/default/guestagent-hub'
        ).read_text()
        _add_drop_in(package, 'guestagent-conductor', 'hub')
        return package

    def _extension(self, distribution: str) -> deb.Package:
        found = importlib.metadata.distribution(distribution)
        name = self.sources[distribution].name
        entry_points = found.entry_points.select(group='guestagent.extensions')
        values = {
            'PACKAGE': distribution,
            'EXTENSION': name,
            'SUMMARY': found.metadata['Summary'],
            'NAMES': ', '.join(sorted(entry_points.names)),
            'CORE': self._version('guestagent'),
            'PROGRAMS': ''.join(f', {each}' for each in _PROGRAMS.get(name, ())),
        }
        own = (_TEMPLATES / 'control' / distribution).exists()
        package = self._package(
            distribution,
            bundle.Bundle(f'{EXTENSIONS}/{name}', [distribution], self._common.names),
            distribution if own else 'extension',
            values,
        )
        if name == 'qga':
            _add_qga(package)
        if name == 'ovirt':
            scripts.add_goodbye(package)
        if name == 'sso':
            _add_command(package, 'guestagent-session')
            # Where the agent, which is not root, has the socket for it.
            scripts.add_tmpfiles(package, '/run/guestagent-desktop', 'guestagent')
        if (self.sources[distribution] / 'Makefile').exists():
            # What of it is not Python.
            package.installs = self.sources[distribution]
        return package

    def _package(
        self,
        name: str,
        python: bundle.Bundle | None = None,
        template: str | None = None,
        values: dict[str, str] | None = None,
    ) -> deb.Package:
        version = self._version(name if name in self.sources else 'guestagent')
        control = (_TEMPLATES / 'control' / (template or name)).read_text()
        # dpkg knows no comments here, and the first line is one.
        control = control.split('\n', 1)[1]
        for key, value in {'VERSION': version, **(values or {})}.items():
            control = control.replace(f'@{key}@', value)
        package = deb.Package(name, version, control, python)
        if python is not None:
            scripts.add_bytecode(package, python.folder)
        for page in _MANUAL.get(name, ()):
            section = page.rpartition('.')[2]
            path = f'usr/share/man/man{section}/{page}.gz'
            package.files[path] = (self._manual / page).read_text()
        return package

    def _version(self, distribution: str) -> str:
        """Return Debian's form of a version: a candidate sorts before its release."""
        version = importlib.metadata.version(distribution)
        return re.sub(r'(a|b|rc|\.dev)(?=\d)', r'~\1', version) + f'-{self._revision}'


def _add_command(package: deb.Package, name: str) -> None:
    (entry_point,) = importlib.metadata.entry_points(group='console_scripts', name=name)
    text = (_TEMPLATES / 'launcher').read_text()
    text = text.replace('@MODULE@', entry_point.module)
    text = text.replace('@FUNCTION@', entry_point.attr)
    paths = ''.join(f'    {path!r},\n' for path in PATHS[name])
    package.files[f'usr/bin/{name}'] = text.replace('    @PATHS@\n', paths)


def _add_service(
    package: deb.Package,
    watched: list[str],
    config: tuple[str, str] | None = None,
    account: str | None = None,
) -> None:
    unit = _SAMPLES / 'systemd' / f'{package.name}.service'
    scripts.add_service(package, unit, watched, config, account)


def _add_qga(package: deb.Package) -> None:
    """Add the program that stands for qemu-ga; its service is not for everybody."""
    _add_command(package, package.name)
    unit = f'{package.name}.service'
    text = (_SAMPLES / 'systemd' / unit).read_text()
    package.files[f'usr/lib/systemd/system/{unit}'] = text
    _add_rules(package)


def _add_rules(package: deb.Package) -> None:
    """Add what udev does with the ports of the host's clients."""
    name = f'60-{package.name}.rules'
    text = (ROOT / 'etc/udev' / name).read_text()
    package.files[f'usr/lib/udev/rules.d/{name}'] = text


def _add_drop_in(package: deb.Package, service: str, name: str) -> None:
    """Add to the unit of another package what this one's presence means for it."""
    target = f'usr/lib/systemd/system/{service}.service.d/{name}.conf'
    source = _SAMPLES / 'systemd' / f'{service}.{name}.conf'
    package.files[target] = source.read_text()


def _agent_options() -> str:
    """Return the sample with what the package sets: least rights."""
    text = (_SAMPLES / 'agent.conf').read_text()
    before = '\n#user =\n'
    if before not in text:
        raise bundle.BundleError(f'agent.conf has no line {before.strip()!r}')
    # The first: extensions have users, too, and [DEFAULT] is before them.
    text = text.replace(before, '\nuser = guestagent\n', 1)
    for name, options in _SECTIONS.items():
        header = f'\n[{name}]\n'
        if header not in text:
            # An extension without options of its own is not in the sample.
            text += f'\n{header}'
        text = text.replace(header, f'{header}{options}', 1)
    return text


def _completion() -> str:
    """Return what bash needs to complete guestctl's commands."""
    guestctl = pathlib.Path(sysconfig.get_path('scripts'), 'guestctl')
    return subprocess.run(
        [guestctl, 'complete'], stdout=subprocess.PIPE, text=True, check=True
    ).stdout
