"""redis.RedisCluster against the ports of the shards: every command goes straight to its owner."""

import pytest
import redis
from conftest import Server, needs_corelane

pytestmark = needs_corelane


@pytest.fixture(scope="module")
def emulated():
    server = Server(3, "--cluster-mode", "emulated")
    yield server
    server.stop()


@pytest.fixture
def cluster(emulated, protocol):
    client = redis.RedisCluster(host="127.0.0.1", port=emulated.port, protocol=protocol)
    client.flushall()
    yield client
    client.close()


def test_nodes_are_the_shards(cluster, emulated):
    ports = sorted(node.port for node in cluster.get_primaries())
    assert ports == [emulated.port + 1 + i for i in range(3)]


def test_commands_reach_their_shard(cluster):
    for i in range(500):
        assert cluster.set(f"key:{i}", i)
    assert [cluster.get(f"key:{i}") for i in range(500)] == [str(i).encode() for i in range(500)]
    owners = {cluster.get_node_from_key(f"key:{i}").port for i in range(500)}
    assert len(owners) == 3


def test_pipeline_and_hash_tags(cluster):
    pipe = cluster.pipeline()
    for i in range(300):
        pipe.set(f"key:{i}", i)
        pipe.get(f"key:{i}")
    assert pipe.execute()[1::2] == [str(i).encode() for i in range(300)]
    assert cluster.mset({"{tag}a": 1, "{tag}b": 2})
    assert cluster.mget("{tag}a", "{tag}b") == [b"1", b"2"]
    assert cluster.mset_nonatomic({f"n{i}": i for i in range(50)})


def test_the_main_port_serves_all_keys(cluster, emulated):
    cluster.set("a", 1)
    cluster.set("b", 2)
    plain = redis.Redis(port=emulated.port)
    assert plain.mget("a", "b") == [b"1", b"2"]
    assert plain.dbsize() == 2
