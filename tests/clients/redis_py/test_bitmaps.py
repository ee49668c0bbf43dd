"""Bitmaps and bit fields through redis-py."""

import pytest
import redis


def test_bits(r):
    assert not r.getbit("a", 5)
    assert not r.setbit("a", 5, True)
    assert r.getbit("a", 5)
    assert r.setbit("a", 5, False)
    assert not r.getbit("a", 5)
    with pytest.raises(redis.ResponseError, match="bit offset is not an integer or out of range"):
        r.setbit("a", 2**32, 1)


def test_bitcount(r):
    for bit in (5, 6, 7, 9, 17, 25, 33):
        r.setbit("a", bit, True)
    assert r.bitcount("a") == 7
    assert r.bitcount("a", 0, -1) == 7
    assert r.bitcount("a", 2, 3) == 2
    assert r.bitcount("a", -2, -1) == 2
    assert r.bitcount("a", 5, 17, mode="BIT") == 5
    assert r.bitcount("missing") == 0


def test_bitop(r):
    r.mset({"a": b"\xff\x0f", "b": b"\x0f\xff", "c": b"\xff"})
    assert r.bitop("and", "d", "a", "b") == 2 and r.get("d") == b"\x0f\x0f"
    assert r.bitop("or", "d", "a", "b", "c") == 2 and r.get("d") == b"\xff\xff"
    assert r.bitop("xor", "d", "a", "b") == 2 and r.get("d") == b"\xf0\xf0"
    assert r.bitop("not", "d", "a") == 2 and r.get("d") == b"\x00\xf0"
    assert r.bitop("and", "d", "a", "missing") == 2 and r.get("d") == b"\0\0"
    assert r.bitop("and", "d", "missing") == 0 and r.get("d") is None


def test_bitpos(r):
    r.set("a", b"\xff\xf0\x00")
    assert r.bitpos("a", 0) == 12
    assert r.bitpos("a", 0, 2, -1) == 16
    assert r.bitpos("a", 0, -2, -1) == 12
    r.set("a", b"\x00\xff\xf0")
    assert r.bitpos("a", 1, 0) == 8
    assert r.bitpos("a", 1, 1) == 8
    assert r.bitpos("a", 1, 9, 23, "BIT") == 9
    r.set("a", b"\x00\x00\x00")
    assert r.bitpos("a", 1) == -1


def test_bitfield(r):
    bf = r.bitfield("a")
    assert bf.set("u8", 8, 255).get("u8", 0).get("u4", 8).get("u4", 12).get("u4", 13).execute() == [0, 0, 15, 15, 14]
    assert bf.set("u8", 4, 200).get("i8", 4).execute() == [15, -56]
    assert r.bitfield("b").incrby("u8", 8, 255, overflow="SAT").incrby("u8", 8, 1).execute() == [255, 255]
    assert r.bitfield("b", "FAIL").incrby("u8", 8, 1).execute() == [None]
    assert r.bitfield("c").set("i8", "#0", 100).set("i8", "#1", 200).get("i8", "#1").execute() == [0, 0, -56]
    assert r.bitfield_ro("c", "u8", 0) == [100]
    assert r.bitfield_ro("c", "u8", 0, items=[("i8", 8), ("u4", 0)]) == [100, -56, 6]
