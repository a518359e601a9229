import pytest
from tests.functional.test_conductor import *   # noqa
def test_real_agent(conductor, agent, query):
    conductor()
    a = agent('web-9')
    processes.wait_for(lambda: _st(query), 'UP')
    print(query('instance_show', instance='web-9'))
    print(list(processes.wait_for(lambda: query('facts_get', instance='web-9')['facts'], 'facts'))[:4])
    a.stop()
    processes.wait_for(lambda: query('instance_show', instance='web-9')['state']=='STOPPED', 'STOPPED')
    b = agent('web-9'); processes.wait_for(lambda: query('instance_show', instance='web-9')['state']=='UP', 'UP')
    b.kill(); processes.wait_for(lambda: query('instance_show', instance='web-9')['state']=='DOWN', 'DOWN')
    print([e['type'] for e in query('event_list', instance='web-9')['events']])
def _st(query):
    try: return query('instance_show', instance='web-9')['state']=='UP'
    except errors.NoSuchInstance: return False
