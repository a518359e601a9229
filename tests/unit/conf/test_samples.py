# SPDX-License-Identifier: Apache-2.0
"""The samples in etc/guestagent are what the options in the code make."""

import pathlib

import pytest
from oslo_config import cfg, generator

ROOT = pathlib.Path(__file__).resolve().parents[3]
SOURCES = sorted((ROOT / 'etc' / 'oslo-config-generator').glob('*.conf'))


def test_there_are_samples() -> None:
    assert {source.name for source in SOURCES} >= {'agent.conf', 'conductor.conf'}


@pytest.mark.parametrize('source', SOURCES, ids=lambda source: source.stem)
def test_the_sample_is_current(source: pathlib.Path, tmp_path: pathlib.Path) -> None:
    conf = cfg.ConfigOpts()
    generator.register_cli_opts(conf)
    made = tmp_path / source.name
    conf(['--config-file', str(source), '--output-file', str(made)])
    generator.generate(conf)
    kept = ROOT / 'etc' / 'guestagent' / source.name
    assert made.read_text() == kept.read_text(), 'run: make samples'
