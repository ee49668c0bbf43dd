use super::*;
use crate::data::set::{Limits, Set};
use crate::data::{Entry, Object};
use crate::metrics::ShardStats;
use crate::session::{ClientRef, Name, Topic};
use crate::shard::{Access, Expiry, Settings};
use std::sync::Arc;

const NOW: i64 = 1000;

fn shard() -> Shard {
    let settings = Settings {
        bulk_len_max: 1 << 20,
        access: Access::Lru,
        expire_effort: 1,
        lazy_flush: false,
        events: crate::config::EventClasses::parse(b"KEA").unwrap(),
        encodings: Default::default(),
        timing: crate::shard::TimingRules::QUIET,
    };
    let mut shard = Shard::new(0, 7, settings, Arc::new(ShardStats::new(4, 16)));
    shard.keyspace.channels.listen(Topic::Pattern, &Name::from(b"*".as_slice()), 0, true);
    let mut keys = shard.keyspace.keys(0, NOW, true);
    keys.set_string(b"text", b"old", Expiry::At(5000));
    keys.set_string(b"number", b"17", Expiry::Clear);
    let set = set_of(40, &keys);
    keys.insert(Entry::object(b"set", set, None));
    keys.in_db(3).set_string(b"text", b"elsewhere", Expiry::Clear);
    shard.keyspace.channels.take_outbox();
    shard
}

fn set_of(members: usize, keys: &Keys) -> Box<Object> {
    let hasher = keys.hasher().clone();
    let limits = Limits { intset_entries: 0, listpack_entries: 64, listpack_value: 64, hasher };
    let mut set = Set::new();
    for n in 0..members {
        set.add(format!("member {n}").as_bytes(), &limits);
    }
    Box::new(Object::Set(set))
}

/// All that there is.
fn all(shard: &Shard) -> String {
    let mut lines = Vec::new();
    for (db, table) in shard.keyspace.dbs.iter().enumerate() {
        let stats = &shard.stats.per_db[db];
        let counts = (stats.keys.get(), stats.expires.get());
        lines.extend(table.iter().map(|entry| format!("{db} {counts:?} {entry:?}")));
    }
    lines.sort();
    lines.join("\n")
}

/// Changes everything, in a trial.
fn change(shard: &mut Shard) -> Trial {
    let mut trial = shard.begin_trial();
    for key in [&b"text"[..], b"number", b"set", b"new"] {
        assert!(trial.keep(shard, key) && trial.keep(shard, key));
    }
    trial.counts(&shard.stats, 2);
    shard.stats.per_command[2].calls.add(1);
    let members = set_of(3, &shard.keyspace.keys(0, NOW, true));
    let mut keys = shard.keyspace.keys(0, NOW, true);
    keys.get(b"none");
    keys.set_string(b"text", b"new", Expiry::Clear);
    keys.in_db(3).remove(b"text");
    keys.in_db(5).set_string(b"text", b"nowhere", Expiry::Clear);
    keys.get_mut(b"number").unwrap().set_int(18);
    keys.changed(1);
    keys.set_expire(b"number", Some(9000));
    keys.remove(b"set");
    keys.insert(Entry::object(b"set", members, None));
    keys.set_string(b"new", b"1", Expiry::Clear);
    keys.notify(crate::config::EventClass::String, "set", b"new");
    shard.random.u64(..);
    trial
}

#[test]
fn what_is_undone_was_never_done() {
    let mut shard = shard();
    let client = ClientRef::new(1, 9);
    for key in [&b"text"[..], b"number", b"set", b"new"] {
        shard.keyspace.keys(0, NOW, true).watch(7, key);
        shard.keyspace.remember_read(key, client);
        shard.keyspace.waited.get_or_insert_default().add(0, key);
    }
    let before = all(&shard);
    let counts = (counters(&shard.stats).map(Counter::get), shard.keyspace.tracked_keys());
    let drawn = shard.random.clone().u64(..);
    let trial = change(&mut shard);
    assert_ne!(all(&shard), before);
    assert!(shard.keyspace.has_invalidations() && shard.keyspace.channels.has_mail());
    trial.undo(&mut shard, NOW);
    assert_eq!(all(&shard), before);
    assert!(!shard.keyspace.has_invalidations() && !shard.keyspace.channels.has_mail());
    assert!(!shard.keyspace.waited.as_ref().unwrap().has_ready());
    assert!(!shard.keyspace.unwatch(7, NOW), "nobody has seen a change");
    assert_eq!((counters(&shard.stats).map(Counter::get), shard.keyspace.tracked_keys()), counts);
    assert_eq!((shard.stats.per_command[2].calls.get(), shard.random.u64(..)), (0, drawn));
}

#[test]
fn what_is_not_undone_stays() {
    let mut shard = shard();
    shard.keyspace.keys(0, NOW, true).watch(7, b"number");
    let trial = change(&mut shard);
    let after = all(&shard);
    trial.end(&mut shard);
    assert_eq!(all(&shard), after);
    assert!(shard.keyspace.channels.has_mail() && shard.keyspace.unwatch(7, NOW));
    assert_eq!(shard.stats.per_command[2].calls.get(), 1);
}

#[test]
fn a_running_snapshot_has_what_was_there() {
    for undone in [true, false] {
        let mut shard = shard();
        let old = all(&shard);
        assert!(shard.keyspace.begin_snapshot(NOW, false));
        let trial = change(&mut shard);
        match undone {
            true => trial.undo(&mut shard, NOW),
            false => trial.end(&mut shard),
        }
        while shard.keyspace.snapshot_step(&mut || true) {}
        while shard.keyspace.take_output().is_some() {}
        let stats = shard.keyspace.end_snapshot().expect("it is done");
        assert_eq!((stats.keys, stats.saved), (4, 4));
        assert!(shard.keyspace.snapshot_bits_are_even());
        assert_eq!(all(&shard) == old, undone);
    }
}

#[test]
fn what_is_big_is_not_kept() {
    let mut shard = shard();
    let mut keys = shard.keyspace.keys(0, NOW, true);
    let set = set_of(ELEMENTS_MAX + 1, &keys);
    keys.insert(Entry::object(b"many", set, None));
    keys.set_string(b"long", &vec![b'x'; STRING_MAX + 1], Expiry::Clear);
    keys.in_db(9).set_string(b"number", &vec![b'x'; STRING_MAX + 1], Expiry::Clear);
    let mut trial = shard.begin_trial();
    for key in [&b"many"[..], b"long", b"number"] {
        assert!(!trial.keep(&mut shard, key));
    }
    assert!(trial.keep(&mut shard, b"text"));
    trial.undo(&mut shard, NOW);
    let count = |n: usize| {
        let key = format!("key {n}").into_bytes();
        (key, vec![b'x'; STRING_MAX])
    };
    for (key, value) in (0..100).map(count) {
        shard.keyspace.keys(0, NOW, true).set_string(&key, &value, Expiry::Clear);
    }
    let mut trial = shard.begin_trial();
    let kept = (0..100).take_while(|n| trial.keep(&mut shard, &count(*n).0)).count();
    assert_eq!(kept, ALL_MAX / STRING_MAX, "all together must not be too much either");
}
