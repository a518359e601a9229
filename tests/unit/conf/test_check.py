# SPDX-License-Identifier: Apache-2.0
"""What is found in configuration files, and how it is told."""

import pathlib

import pytest
from oslo_config import cfg

from guestagent.conf import check, config, listen, reload

OPTIONS = [
    cfg.IntOpt('workers', default=1, min=1, mutable=True),
    cfg.IntOpt('backlog', default=1, deprecated_name='queue'),
    cfg.StrOpt('moved', deprecated_group='old_place', deprecated_name='thing'),
    cfg.MultiOpt('many', item_type=cfg.types.Integer()),
    cfg.StrOpt('word', choices=['a', 'b'], secret=True),
]
CORE = [cfg.BoolOpt('debug', default=False, mutable=True), cfg.StrOpt('log-file')]


class Files:
    """A configuration in a folder."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.main = folder / 'main.conf'
        self.folder = folder / 'more'
        self.folder.mkdir()
        self.main.touch()

    def load(self, text: str | None = None) -> config.Config:
        if text is not None:
            self.main.write_text(text)
        conf = config.Config()
        conf.register_cli_opts(CORE)
        conf.register_opts(OPTIONS, group='dispatcher')
        conf.load(
            ['--config-file', str(self.main), '--config-dir', str(self.folder)],
            prog='test',
            name='test',
            description='',
        )
        return conf

    def problems(self, text: str) -> list[str]:
        conf = self.load(text)
        found = [*check.values(conf), *check.names(conf).problems]
        return [problem.replace(f'{self.main}: ', '', 1) for problem in found]


@pytest.fixture
def files(tmp_path):
    return Files(tmp_path)


def test_what_is_right_is_not_mentioned(files):
    text = (
        '[DEFAULT]\ndebug = yes\nlog_file = /x\n'
        '[Dispatcher]\nworkers = 3\nqueue = 3\nmany = 1\nmany = 2\nword = b\n'
        '[old_place]\nthing = x\n'
    )

    assert files.problems(text) == []


@pytest.mark.parametrize(
    ('text', 'problem'),
    [
        (
            '[DEFAULT]\ndebug = maybe',
            "[DEFAULT] debug: Unexpected boolean value 'maybe'",
        ),
        (
            '[dispatcher]\nworkers = 0',
            '[dispatcher] workers: Should be greater than or equal to 1',
        ),
        (
            '[dispatcher]\nqueue = x',
            "[dispatcher] queue: invalid literal for int() with base 10: 'x'",
        ),
        (
            '[dispatcher]\nmany = 1\nmany = x',
            "[dispatcher] many: invalid literal for int() with base 10: 'x'",
        ),
        ('[dispatcher]\nword = hunter2', '[dispatcher] word: the value makes no sense'),
        (
            '[dispatcher]\nworkerz = 1',
            '[dispatcher] workerz: there is no such option; did you mean workers?',
        ),
        (
            'log-file = /x',
            '[DEFAULT] log-file: there is no such option; '
            'did you mean [DEFAULT] log_file?',
        ),
        (
            '[DEFAULT]\nbacklog = 1',
            '[DEFAULT] backlog: there is no such option; '
            'did you mean [dispatcher] backlog?',
        ),
        (
            '[dispacher]\nworkers = 1',
            '[dispacher] workers: there is no section [dispacher]; '
            'did you mean [dispatcher]?',
        ),
        (
            '[qqq]\nword = 1',
            '[qqq] word: there is no section [qqq]; did you mean [dispatcher] word?',
        ),
        ('[qqq]\nzzz = 1', '[qqq] zzz: there is no section [qqq]'),
    ],
)
def test_what_is_wrong_is_named(files, text, problem):
    if not text.startswith('['):
        text = f'[DEFAULT]\n{text}'
    assert files.problems(text) == [problem]


def test_the_file_of_a_folder_is_named(files):
    more = files.folder / '10-more.conf'
    more.write_text('[dispatcher]\nworkers = -1\nnone = 1\n')

    conf = files.load('[dispatcher]\nworkers = 2\n')

    assert check.values(conf) == [
        f'{more}: [dispatcher] workers: Should be greater than or equal to 1'
    ]
    assert check.names(conf).problems == [
        f'{more}: [dispatcher] none: there is no such option'
    ]


def test_a_value_out_of_the_environment_is_named_by_its_variable(files, monkeypatch):
    monkeypatch.setenv('OS_DISPATCHER__WORKERS', '0')

    assert files.problems('[dispatcher]\nword = a\n') == [
        'environment variable OS_DISPATCHER__WORKERS: '
        'Should be greater than or equal to 1'
    ]


def test_spare_sections_are_warned_of_once(files):
    conf = files.load('[later]\na = 1\nb = 2\n')

    assert check.names(conf, {'later'}) == check.Findings(
        [], [f'{files.main}: [later] is not read: no extension of this name is loaded']
    )


def test_options_that_others_read_are_let_pass(files):
    conf = files.load('[DEFAULT]\ntheirs = 1\n[them]\nthis = 1\n')

    others = [(None, [cfg.StrOpt('theirs')]), ('them', [cfg.StrOpt('this')])]

    assert check.names(conf, others=others).problems == []


def test_what_is_no_text_is_refused(files):
    files.main.write_bytes(b'[DEFAULT]\nlog_file = \xff\xfe\n')

    with pytest.raises(Exception, match='not UTF-8'):
        files.load()


def test_a_reload_takes_what_may_change_and_names_the_rest(files, caplog):
    caplog.set_level('INFO')
    conf = files.load('[dispatcher]\nworkers = 2\nbacklog = 2\n')
    files.main.write_text(
        '[DEFAULT]\ndebug = yes\n[dispatcher]\nworkers = 3\nbacklog = 3\n'
    )

    assert reload.reload(conf)

    assert (conf.debug, conf.dispatcher.workers, conf.dispatcher.backlog) == (
        True,
        3,
        2,
    )
    assert [record.getMessage() for record in caplog.records] == [
        'the configuration was read again; changed: '
        '[DEFAULT] debug, [dispatcher] workers',
        'changed, but a restart is needed for it: [dispatcher] backlog',
    ]


@pytest.mark.parametrize(
    ('text', 'what'),
    [
        ('[dispatcher]\nworkers = 0\n', 'main.conf: [dispatcher] workers: Should be'),
        ('[dispatcher]\nworkerz = 9\n', 'main.conf: [dispatcher] workerz: there is no'),
        ('workers = 9\n', 'Section must be started'),
        (None, 'main.conf'),
    ],
)
def test_a_reload_of_a_mistake_changes_nothing(files, caplog, text, what):
    conf = files.load('[dispatcher]\nworkers = 2\n')
    if text is None:
        files.main.unlink()
    else:
        files.main.write_text(f'{text}[DEFAULT]\ndebug = yes\n')

    assert not reload.reload(conf)

    assert (conf.debug, conf.dispatcher.workers) == (False, 2)
    assert 'the configuration stays as it was: ' in caplog.text
    assert what in caplog.text


@pytest.mark.parametrize(
    ('text', 'where'),
    [
        ('127.0.0.1:80', ('127.0.0.1', 80)),
        ('[::1]:9101', ('::1', 9101)),
        ('/run/x', '/run/x'),
    ],
)
def test_where_to_listen(text, where):
    assert listen.parse(text) == where
    assert listen.Listen()(text) == text


@pytest.mark.parametrize(
    'text', ['x', ':80', '127.0.0.1', '127.0.0.1:0', '127.0.0.1:65536', '::1:80',
             'host:80', '127.0.0.1:x', '/' + 'x' * 107],
)  # fmt: skip
def test_where_nobody_can_listen(text):
    with pytest.raises(ValueError, match=r'socket'):
        listen.Listen()(text)
