"""Pipelines without transactions: replies in order, errors in their places."""

import random

import pytest
import redis


def test_replies_in_order(r):
    with r.pipeline(transaction=False) as pipe:
        pipe.set("a", "a1").get("a").set("b", 2).incr("b").mget("a", "b", "c").get("missing")
        assert pipe.execute() == [True, b"a1", True, 3, [b"a1", b"3", None], None]


def test_pipeline_length_and_reset(r):
    with r.pipeline(transaction=False) as pipe:
        assert not pipe.execute()
        pipe.set("a", 1)
        assert len(pipe) == 1
        pipe.reset()
        assert len(pipe) == 0
    assert r.get("a") is None


def test_errors_keep_their_place(r):
    r.set("text", "abc")
    with r.pipeline(transaction=False) as pipe:
        pipe.set("a", 1).incr("text").set("b", 2).execute_command("NOSUCH").get("b")
        replies = pipe.execute(raise_on_error=False)
    assert replies[0] is True and replies[2] is True and replies[4] == b"2"
    assert isinstance(replies[1], redis.ResponseError) and "not an integer" in str(replies[1])
    assert isinstance(replies[3], redis.ResponseError) and "unknown command" in str(replies[3])


def test_first_error_is_raised_with_its_command(r):
    r.set("text", "abc")
    with r.pipeline(transaction=False) as pipe:
        pipe.set("a", 1).incr("text").set("b", 2)
        with pytest.raises(redis.ResponseError, match=r"Command # 2 \(INCRBY text 1\)"):
            pipe.execute()
    assert r.get("b") == b"2"


@pytest.mark.parametrize("size", [10, 1000, 20000])
def test_big_pipelines_over_random_keys(r, size):
    dice = random.Random(size)
    keys = [f"key:{dice.randrange(size)}" for _ in range(size)]
    pipe = r.pipeline(transaction=False)
    for n, key in enumerate(keys):
        pipe.set(key, n)
        pipe.get(key)
    replies = pipe.execute()
    assert replies[0::2] == [True] * size
    assert replies[1::2] == [str(n).encode() for n in range(size)]


def test_increments_count_every_command(r):
    pipe = r.pipeline(transaction=False)
    for i in range(10000):
        pipe.incr(f"counter:{i % 7}")
    replies = pipe.execute()
    assert replies == [i // 7 + 1 for i in range(10000)]


def test_big_values_in_a_pipeline(r):
    values = {f"big:{i}": bytes([i]) * 200_000 for i in range(40)}
    pipe = r.pipeline(transaction=False)
    for key, value in values.items():
        pipe.set(key, value)
    for key in values:
        pipe.get(key)
    replies = pipe.execute()
    assert replies[40:] == list(values.values())
