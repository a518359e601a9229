"""The test of the tutorial's extension."""

from guestagent_uptime import Uptime

from guestagent import testing


def test_it_returns_the_seconds_since_boot():
    """No agent and no bus are needed."""
    first = testing.call(Uptime, 'read')['seconds']
    second = testing.call(Uptime, 'read')['seconds']
    assert 0 < first <= second
