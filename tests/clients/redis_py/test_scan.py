"""SCAN by hand and through redis-py's iterators."""

import pytest


@pytest.fixture
def filled(r):
    pipe = r.pipeline(transaction=False)
    for i in range(5000):
        pipe.set(f"key:{i:05}", i)
    pipe.execute()
    return r


def test_scan_pages(filled):
    cursor, seen, pages = 0, [], 0
    while True:
        cursor, keys = filled.scan(cursor, count=100)
        seen += keys
        pages += 1
        if cursor == 0:
            break
    assert len(seen) == 5000 and len(set(seen)) == 5000
    assert 10 <= pages <= 200


@pytest.mark.parametrize("count", [None, 1, 10, 1000, 100000])
def test_scan_iter(filled, count):
    assert sorted(filled.scan_iter(count=count)) == [f"key:{i:05}".encode() for i in range(5000)]


def test_scan_iter_match(filled):
    assert len(list(filled.scan_iter(match="key:012*"))) == 100
    assert list(filled.scan_iter(match="nothing*")) == []
    assert len(list(filled.scan_iter(match="key:*7", count=500))) == 500


def test_scan_iter_type(filled):
    assert len(list(filled.scan_iter(_type="string"))) == 5000
    assert list(filled.scan_iter(_type="hash")) == []


def test_delete_while_scanning(filled):
    for key in filled.scan_iter(count=50):
        assert filled.delete(key) == 1
    assert filled.dbsize() == 0


def test_insert_while_scanning(filled):
    seen = set()
    for n, key in enumerate(filled.scan_iter(count=50)):
        seen.add(key)
        if n < 20000:
            filled.set(f"new:{n}", n)
    assert {f"key:{i:05}".encode() for i in range(5000)} <= seen
