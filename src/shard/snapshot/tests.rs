use super::*;
use crate::data::set::{Limits, Set};
use crate::data::{Entry, Object, hash};
use crate::metrics::ShardStats;
use crate::rdb::kind;
use crate::shard::{Access, Everything, Expiry, Settings, Shard};
use std::sync::Arc;

const CUT: i64 = 500;
const LATER: i64 = 2000;

fn shard() -> Shard {
    let settings = Settings {
        bulk_len_max: 1 << 20,
        access: Access::Lru,
        expire_effort: 1,
        lazy_flush: false,
        events: Default::default(),
        encodings: Default::default(),
        timing: crate::shard::TimingRules::QUIET,
    };
    Shard::new(0, 7, settings, Arc::new(ShardStats::new(1, 16)))
}

fn set_of(members: usize, keys: &Keys) -> Box<Object> {
    let hasher = keys.hasher().clone();
    let limits = Limits { intset_entries: 0, listpack_entries: 0, listpack_value: 0, hasher };
    let mut set = Set::new();
    for n in 0..members {
        set.add(format!("a member of the set, {n}").as_bytes(), &limits);
    }
    Box::new(Object::Set(set))
}

/// A shard with a key `k` in database 0 that expires at 1000.
fn shard_with(big: bool) -> Shard {
    let mut shard = shard();
    let mut keys = shard.keyspace.keys(0, 0, true);
    match big {
        true => keys.insert(Entry::object(b"k", set_of(5000, &keys), Some(1000))),
        false => keys.set_string(b"k", b"old", Expiry::At(1000)),
    }
    shard
}

fn output(keyspace: &mut Keyspace) -> Vec<u8> {
    std::iter::from_fn(|| keyspace.take_output()).flatten().collect()
}

/// What is written from now to the end.
fn rest(shard: &mut Shard) -> Vec<u8> {
    while shard.keyspace.snapshot_step(&mut || true) {
        assert!(!shard.keyspace.snapshot_stats().unwrap().done);
    }
    let written = output(&mut shard.keyspace);
    let stats = shard.keyspace.end_snapshot().expect("it is done");
    assert_eq!((stats.saved, stats.left_out), (stats.keys, 0));
    assert!(shard.keyspace.snapshot_bits_are_even() && shard.keyspace.can_begin_snapshot());
    assert!(shard.keyspace.snapshot_stats().is_none());
    written
}

fn undisturbed(big: bool) -> Vec<u8> {
    let mut shard = shard_with(big);
    assert!(shard.keyspace.begin_snapshot(CUT, false));
    rest(&mut shard)
}

type Way = (&'static str, fn(&mut Shard));

fn keys(shard: &mut Shard) -> Keys<'_> {
    shard.keyspace.keys(0, 600, true)
}

fn late(shard: &mut Shard) -> Keys<'_> {
    shard.keyspace.keys(0, LATER, true)
}

/// Every way for an entry to change or to leave its table.
const WAYS: &[Way] = &[
    ("changed", |s| keys(s).get_mut(b"k").unwrap().set_int(1)),
    ("changed unwatched", |s| keys(s).get_mut_unwatched(b"k").unwrap().set_int(1)),
    ("read and changed", |s| keys(s).read_mut_unwatched(b"k").unwrap().set_int(1)),
    ("found or made", |s| keys(s).get_or_make(b"k").0.set_int(1)),
    ("overwritten", |s| keys(s).set_string(b"k", b"new", Expiry::Keep)),
    ("overwritten after its time", |s| late(s).set_string(b"k", b"new", Expiry::Keep)),
    ("replaced", |s| keys(s).insert(Entry::int(b"k", 1, None))),
    ("replaced after its time", |s| late(s).insert(Entry::int(b"k", 1, None))),
    ("replaced anew", |s| keys(s).insert_anew(Entry::int(b"k", 1, None))),
    ("renamed over", |s| keys(s).adopt(Entry::int(b"k", 1, None))),
    ("renamed", |s| {
        let entry = keys(s).take(b"k").unwrap();
        keys(s).adopt(entry.with_key(b"l"));
    }),
    ("moved", |s| {
        let entry = keys(s).take(b"k").unwrap();
        s.keyspace.keys(5, 600, true).adopt(entry);
    }),
    ("copied, then removed", |s| {
        let copy = keys(s).peek(b"k").unwrap().copy_with_key(b"l");
        keys(s).insert(copy);
        assert!(keys(s).remove(b"k"));
    }),
    ("lent", |s| {
        let mut entry = keys(s).lend(b"k").unwrap();
        entry.set_int(1);
        s.keyspace.snapshot_step(&mut || true);
        keys(s).take_back(entry);
    }),
    ("removed", |s| assert!(keys(s).remove(b"k"))),
    ("removed after its time", |s| assert!(!late(s).remove(b"k"))),
    ("cleared", |s| assert!(keys(s).clear(b"k"))),
    ("cleared after its time", |s| assert!(late(s).clear(b"k"))),
    ("given a time", |s| assert!(keys(s).set_expire(b"k", Some(5000)))),
    ("without a time", |s| assert!(keys(s).set_expire(b"k", None))),
    ("found expired", |s| assert!(late(s).get(b"k").is_none())),
    ("found expired by a change", |s| assert!(late(s).get_mut(b"k").is_none())),
    ("expired", |s| assert!(!s.expire_cycle(LATER, &mut || false))),
    ("drawn", |s| {
        let mut random = fastrand::Rng::with_seed(1);
        assert!(late(s).random_key(&mut random).is_none());
    }),
    ("flushed", |s| assert_eq!(keys(s).flush(0), 1)),
    ("flushed and set again", |s| {
        keys(s).flush(0);
        keys(s).set_string(b"k", b"new", Expiry::Clear);
    }),
    ("swapped", |s| keys(s).swap(0, 3)),
    ("swapped and flushed", |s| {
        keys(s).swap(3, 0);
        keys(s).set_string(b"k", b"new", Expiry::Clear);
        keys(s).swap(4, 3);
        keys(s).flush(4);
        keys(s).swap(0, 4);
    }),
    ("used", |s| assert!(keys(s).touch(b"k"))),
    ("away", |s| {
        let mut other = shard();
        let mut everything = lend_all(s);
        other.exchange(&mut everything);
        assert!(other.keyspace.keys(0, 600, true).remove(b"k"));
        other.keyspace.keys(0, 600, true).set_string(b"k", b"new", Expiry::Clear);
        assert!(!other.keyspace.snapshot_step(&mut || false));
        assert!(other.keyspace.take_output().is_none());
        other.exchange(&mut everything);
        assert!(other.keyspace.can_begin_snapshot());
        s.accept_all(everything);
    }),
];

fn lend_all(shard: &mut Shard) -> Everything {
    let everything = shard.lend_all();
    assert!(!shard.keyspace.snapshot_step(&mut || false));
    assert!(shard.keyspace.take_output().is_none() && shard.keyspace.snapshot_stats().is_none());
    assert!(!shard.keyspace.begin_snapshot(CUT, false) && shard.keyspace.end_snapshot().is_none());
    everything
}

#[test]
fn an_entry_is_saved_as_it_was_whatever_becomes_of_it() {
    let small = b"\xfe\x00\xfc\xe8\x03\0\0\0\0\0\0\x00\x01k\x03old";
    assert_eq!(undisturbed(false), small);
    for big in [false, true] {
        let expected = undisturbed(big);
        for (way, go) in WAYS {
            // Before the walk has come to it, in the middle if it is big, and afterwards.
            for steps in [0, 1, 3, 1000] {
                let mut shard = shard_with(big);
                assert!(shard.keyspace.begin_snapshot(CUT, false));
                for _ in 0..steps {
                    shard.keyspace.snapshot_step(&mut || true);
                }
                let mut written = output(&mut shard.keyspace);
                go(&mut shard);
                written.extend(rest(&mut shard));
                assert!(written == expected, "{way}, big: {big}, after {steps} steps");
            }
        }
    }
}

#[test]
fn what_comes_after_the_cut_is_not_written() {
    let mut shard = shard_with(false);
    let expected = undisturbed(false);
    for _ in 0..2 {
        assert!(shard.keyspace.begin_snapshot(CUT, false));
        assert!(!shard.keyspace.begin_snapshot(CUT, false));
        shard.keyspace.keys(0, 600, true).set_string(b"new", b"1", Expiry::Clear);
        shard.keyspace.keys(1, 600, true).insert(Entry::int(b"k", 1, None));
        assert_eq!(rest(&mut shard), expected);
        shard.keyspace.keys(0, 600, true).remove(b"new");
        shard.keyspace.keys(1, 600, true).flush(1);
    }
    let mut empty = self::shard();
    assert!(empty.keyspace.begin_snapshot(CUT, false));
    assert!(empty.keyspace.snapshot_stats().unwrap().done);
    assert_eq!(rest(&mut empty), b"");
}

#[test]
fn a_walk_meets_all_that_stays_however_the_table_grows_and_shrinks() {
    let mut shard = shard();
    let key = |n: u32| n.to_string().into_bytes();
    let fill = |shard: &mut Shard, range: std::ops::Range<u32>| {
        range.for_each(|n| keys(shard).set_string(&key(n), b"v", Expiry::Clear));
    };
    fill(&mut shard, 0..3000);
    assert!(shard.keyspace.begin_snapshot(CUT, false));
    let mut next = 3000;
    for round in 0..20 {
        assert!(shard.keyspace.snapshot_step(&mut || true));
        match round % 5 {
            0..3 => fill(&mut shard, next..next + 1500),
            _ => (3000..next).for_each(|n| assert!(keys(&mut shard).remove(&key(n)))),
        }
        next = if round % 5 < 3 { next + 1500 } else { 3000 };
    }
    let stats = shard.keyspace.snapshot_stats().unwrap();
    assert!(stats.saved < 2900 && stats.copied == 0, "{stats:?}");
    rest(&mut shard);
}

#[test]
fn steps_are_short_and_the_figures_follow() {
    let mut shard = shard_with(true);
    let mut random = fastrand::Rng::with_seed(1);
    let noise: Vec<u8> = (0..300_000).map(|_| random.u8(..)).collect();
    keys(&mut shard).set_string(b"text", &noise, Expiry::Clear);
    keys(&mut shard).set_string(b"other", b"v", Expiry::Clear);
    assert!(shard.keyspace.begin_snapshot(CUT, false));
    let (mut before, mut steps) = (shard.keyspace.snapshot_stats().unwrap(), 0);
    assert_eq!((before.keys, before.saved, before.bytes, before.done), (3, 0, 0, false));
    while shard.keyspace.snapshot_step(&mut || true) {
        let stats = shard.keyspace.snapshot_stats().unwrap();
        assert!(stats.bytes - before.bytes < 40_000, "{stats:?}");
        assert_eq!(stats.pending as u64, stats.bytes);
        (before, steps) = (stats, steps + 1);
    }
    let bytes = 5000 * 25 + 300_000;
    assert!(steps > bytes / 40_000, "{steps} steps");
    keys(&mut shard).remove(b"other");
    let stats = shard.keyspace.snapshot_stats().unwrap();
    assert_eq!((stats.saved, stats.copied, stats.done), (3, 0, true));
    assert!(shard.keyspace.end_snapshot().is_none(), "its output is still to be taken");
    assert_eq!(rest(&mut shard).len() as u64, stats.bytes);

    assert!(shard.keyspace.begin_snapshot(CUT, false));
    keys(&mut shard).set_expire(b"k", None);
    keys(&mut shard).remove(b"text");
    let stats = shard.keyspace.snapshot_stats().unwrap();
    assert_eq!((stats.keys, stats.saved, stats.copied, stats.done), (2, 2, 2, false));
    rest(&mut shard);
}

#[test]
fn uses_are_written_if_they_are_wanted() {
    let mut shard = shard();
    let now = 1_700_000_000_000;
    shard.keyspace.keys(0, now, true).set_string(b"k", b"v", Expiry::Clear);
    assert!(shard.keyspace.begin_snapshot(now + 9000, true));
    assert_eq!(rest(&mut shard), b"\xfe\x00\xf8\x09\x00\x01k\x01v");
    shard.keyspace.access = Access::Lfu { log_factor: 10, decay_minutes: 1 };
    shard.keyspace.keys(0, now, true).insert(Entry::int(b"k", 1, None));
    assert!(shard.keyspace.begin_snapshot(now, true));
    assert_eq!(rest(&mut shard), b"\xfe\x00\xf9\x05\x00\x01k\xc0\x01");
}

fn insert_hash(shard: &mut Shard, key: &[u8], times: [i64; 2]) {
    let limits = hash::Limits { fields: 8, string: 8 };
    let mut value = hash::Hash::new();
    for (field, at) in [b"f", b"g"].iter().zip(times) {
        let text = hash::FieldValue::Bytes(b"v");
        value.set(*field, text, hash::Lifetime::Until(at), limits, 0);
    }
    let value = Box::new(Object::Hash(value));
    shard.keyspace.keys(0, 0, true).insert(Entry::object(key, value, None));
}

#[test]
fn fields_are_saved_before_they_expire() {
    let purge = |s: &mut Shard| assert!(!s.expire_cycle(600, &mut || false));
    let watch = |s: &mut Shard| s.keyspace.keys(0, 600, true).watch(1, b"k");
    let mut written = Vec::new();
    let ways: [&dyn Fn(&mut Shard); 3] = [&|_| (), &purge, &watch];
    for way in ways {
        let mut shard = shard();
        insert_hash(&mut shard, b"k", [550, 900]);
        assert!(shard.keyspace.begin_snapshot(CUT, false));
        way(&mut shard);
        written.push(rest(&mut shard));
    }
    assert_eq!(written[0].len(), 2 + 4 + 2 * (4 + 8));
    assert!(written.iter().all(|bytes| *bytes == written[0]));
}

#[test]
fn fields_that_had_expired_are_left_out() {
    let mut shard = shard();
    insert_hash(&mut shard, b"a", [400, 900]);
    insert_hash(&mut shard, b"b", [400, 300]);
    assert!(shard.keyspace.begin_snapshot(CUT, false));
    while shard.keyspace.snapshot_step(&mut || false) {}
    let written = output(&mut shard.keyspace);
    let expected = [b"\xfe\x00", &[kind::HASH_2][..], b"\x01a\x01\x01g\x01v\x84\x03\0\0\0\0\0\0"];
    assert_eq!(written, expected.concat());
    let stats = shard.keyspace.end_snapshot().unwrap();
    assert_eq!((stats.saved, stats.left_out, stats.version), (1, 1, 80));
}

#[test]
fn a_snapshot_that_is_given_up_leaves_no_trace() {
    for steps in 0..8 {
        for (way, go) in WAYS {
            let mut shard = shard_with(true);
            for n in 0..1000 {
                let key = format!("key {n}");
                let ttl = if *way == "drawn" { Expiry::At(1000) } else { Expiry::Clear };
                keys(&mut shard).set_string(key.as_bytes(), b"v", ttl);
            }
            assert!(shard.keyspace.begin_snapshot(CUT, false));
            for _ in 0..steps {
                shard.keyspace.snapshot_step(&mut || true);
            }
            match *way {
                "flushed" => assert_eq!(keys(&mut shard).flush(0), 1001),
                _ => go(&mut shard),
            }
            shard.keyspace.abort_snapshot();
            assert!(shard.keyspace.take_output().is_none());
            assert!(shard.keyspace.snapshot_stats().is_none());
            keys(&mut shard).set_string(b"key 3", b"other", Expiry::Clear);
            keys(&mut shard).remove(b"key 4");
            while shard.keyspace.snapshot_step(&mut || true) {
                assert!(!shard.keyspace.can_begin_snapshot());
            }
            assert!(shard.keyspace.snapshot_bits_are_even(), "{way}");
            assert!(shard.keyspace.begin_snapshot(CUT, false), "{way}");
            rest(&mut shard);
        }
    }
}

#[test]
fn what_is_given_up_while_the_tables_are_away_ends_when_they_are_back() {
    let mut shard = shard_with(true);
    assert!(shard.keyspace.begin_snapshot(CUT, false));
    shard.keyspace.snapshot_step(&mut || true);
    let everything = lend_all(&mut shard);
    shard.keyspace.abort_snapshot();
    shard.accept_all(everything);
    assert!(shard.keyspace.snapshot_stats().is_none() && shard.keyspace.take_output().is_none());
    while shard.keyspace.snapshot_step(&mut || true) {}
    assert!(shard.keyspace.can_begin_snapshot() && shard.keyspace.snapshot_bits_are_even());
}
