//! Reads, changes and what becomes of them, on one shard or two.

use super::*;
use crate::data::Entry;
use crate::shard::{Access, Encodings, Expiry, Parcel, Settings, Shard};

const A: ClientRef = ClientRef::new(0, 7);
const B: ClientRef = ClientRef::new(2, 8);

fn shard() -> Shard {
    let settings = Settings {
        bulk_len_max: 1 << 20,
        access: Access::Lru,
        expire_effort: 1,
        lazy_flush: false,
        events: Default::default(),
        encodings: Encodings::default(),
        timing: crate::shard::TimingRules::QUIET,
    };
    Shard::new(0, 7, settings, Arc::new(ShardStats::new(1, 16)))
}

fn keyspace() -> Keyspace {
    shard().keyspace
}

fn set(space: &mut Keyspace, key: &str) {
    space.keys(0, 0, true).set_string(key.as_bytes(), b"v", Expiry::Clear);
}

/// `key clients by` of what became stale.
fn stale(space: &mut Keyspace) -> Vec<String> {
    let (stale, _) = space.take_invalidations();
    let ids = |clients: &[ClientRef]| clients.iter().map(|c| c.id()).collect::<Vec<_>>();
    let shown = |s: Stale| {
        let by = if s.by == ClientRef::NOBODY { 0 } else { s.by.id() };
        format!("{} {:?} {by}", String::from_utf8_lossy(&s.key), ids(&s.clients))
    };
    stale.into_iter().map(shown).collect()
}

fn changed(space: &mut Keyspace) -> Vec<String> {
    let (_, changed) = space.take_invalidations();
    let shown = |c: Changed| format!("{} {:?}", String::from_utf8_lossy(&c.key), c.shards);
    changed.into_iter().map(shown).collect()
}

fn counts(space: &Keyspace) -> (u64, u64) {
    (space.stats.tracked_keys.get(), space.stats.tracked_items.get())
}

#[test]
fn a_client_and_its_shard_fit_into_a_word() {
    let client = ClientRef::new(65534, (1 << 48) - 2);
    assert_eq!((client.shard(), client.id()), (65534, (1 << 48) - 2));
    assert_ne!(client, ClientRef::NOBODY);
}

#[test]
fn every_kind_of_change_lets_readers_down_once() {
    type Change = (&'static str, fn(&mut Keys));
    let changes: [Change; 7] = [
        ("set", |keys| keys.set_string(b"k", b"w", Expiry::Clear)),
        ("replaced", |keys| keys.insert(Entry::string(b"k", b"w", None))),
        ("removed", |keys| assert!(keys.remove(b"k"))),
        ("in place", |keys| {
            keys.get_mut(b"k");
            keys.changed(1);
        }),
        ("expire", |keys| assert!(keys.set_expire(b"k", Some(9000)))),
        ("moved", |keys| {
            let entry = keys.take(b"k").unwrap();
            keys.in_db(3).adopt(entry);
        }),
        ("other database", |keys| keys.in_db(5).set_string(b"k", b"w", Expiry::Clear)),
    ];
    for (way, change) in changes {
        let mut space = keyspace();
        set(&mut space, "k");
        [B, A, B].iter().for_each(|&client| space.remember_read(b"k", client));
        space.remember_read(b"other", A);
        assert_eq!(counts(&space), (2, 3));
        space.run_for(A);
        change(&mut space.keys(0, 0, true));
        assert_eq!(stale(&mut space), ["k [7, 8] 7"], "{way}");
        set(&mut space, "k");
        assert!(!space.has_invalidations(), "{way}");
        assert_eq!(counts(&space), (1, 1));
    }
}

#[test]
fn a_look_is_no_change() {
    let mut space = keyspace();
    set(&mut space, "k");
    space.remember_read(b"k", A);
    let mut keys = space.keys(0, 0, true);
    keys.get(b"k");
    keys.get_mut(b"k");
    keys.changed(0);
    space.run_for(B);
    space.keys(0, 0, true).changed(1);
    assert!(!space.has_invalidations());
}

#[test]
fn what_expires_is_changed_by_nobody() {
    let ways: [fn(&mut Shard); 3] = [
        |shard| assert!(shard.keyspace.keys(0, 2000, true).get(b"k").is_none()),
        |shard| assert!(!shard.keyspace.keys(0, 2000, true).remove(b"k")),
        |shard| assert!(!shard.expire_cycle(2000, &mut || false)),
    ];
    for expire in ways {
        let mut shard = shard();
        shard.keyspace.keys(0, 0, true).set_string(b"k", b"v", Expiry::At(1000));
        shard.keyspace.remember_read(b"k", A);
        shard.keyspace.run_for(A);
        expire(&mut shard);
        assert_eq!(stale(&mut shard.keyspace), ["k [7] 0"]);
    }
}

#[test]
fn prefixes_are_followed_by_shards() {
    let mut space = keyspace();
    for (prefix, shard) in [("", 3), ("a:", 1), ("a:", 1), ("a:b", 3), ("b:", 2)] {
        space.follow(prefix.as_bytes(), shard, true);
    }
    assert_eq!(space.stats.tracking_prefixes.get(), 4);
    ["a:b:c", "b:", "x"].iter().for_each(|key| set(&mut space, key));
    assert_eq!(changed(&mut space), ["a:b:c [3, 1]", "b: [3, 2]", "x [3]"]);
    for (prefix, shard) in [("", 3), ("a:", 1), ("a:b", 3), ("b:", 2)] {
        space.follow(prefix.as_bytes(), shard, false);
    }
    ["a:b:c", "b:", "x"].iter().for_each(|key| set(&mut space, key));
    assert_eq!(changed(&mut space), ["a:b:c [1]"]);
}

#[test]
fn a_key_on_loan_is_read_and_changed_as_at_home() {
    let (mut owner, mut borrower) = (keyspace(), keyspace());
    for key in ["a", "b", "c"] {
        set(&mut owner, key);
        owner.remember_read(key.as_bytes(), A);
    }
    let keys = ["a", "b", "new"].map(|key| Box::from(key.as_bytes())).to_vec();
    let mut parcel = Parcel::new(keys);
    owner.pack(&mut parcel, 0);
    assert_eq!(counts(&owner), (1, 1));
    borrower.unpack(&mut parcel, 0);
    borrower.remember_read(b"b", B);
    borrower.remember_read(b"new", B);
    borrower.run_for(B);
    set(&mut borrower, "a");
    assert_eq!(stale(&mut borrower), ["a [7] 8"]);
    borrower.repack(&mut parcel, 0);
    assert_eq!(counts(&borrower), (0, 0));
    owner.accept(&mut parcel, 0);
    assert!(!owner.has_invalidations());
    assert_eq!(counts(&owner), (3, 4));
    ["a", "b", "new"].iter().for_each(|key| set(&mut owner, key));
    assert_eq!(stale(&mut owner), ["b [7, 8] 0", "new [8] 0"]);
}

#[test]
fn whole_tables_take_their_readers_along() {
    let (mut owner, mut borrower) = (keyspace(), keyspace());
    set(&mut owner, "k");
    owner.remember_read(b"k", A);
    borrower.remember_read(b"own", B);
    let mut tables = owner.lend_all();
    borrower.exchange(&mut tables);
    borrower.keys(0, 0, true).remove(b"k");
    borrower.remember_read(b"l", A);
    borrower.keys(0, 0, true).flush(0);
    borrower.exchange(&mut tables);
    assert_eq!(stale(&mut borrower), ["k [7] 0"]);
    assert_eq!(counts(&borrower), (1, 1));
    assert!(!borrower.take_flushed());
    owner.accept_all(tables);
    assert!(owner.take_flushed() && !owner.take_flushed());
    assert_eq!(counts(&owner), (0, 0));
    // Also when nobody has read anything, nor tracks keys at the borrower.
    let mut other = keyspace();
    let mut tables = owner.lend_all();
    other.exchange(&mut tables);
    other.keys(0, 0, true).flush(0);
    other.exchange(&mut tables);
    owner.accept_all(tables);
    assert!(owner.take_flushed() && !other.take_flushed());
}

#[test]
fn all_is_forgotten_when_it_is_of_no_use() {
    let mut space = keyspace();
    for n in 0..10_000u32 {
        space.remember_read(&n.to_le_bytes(), A);
    }
    space.give_up_tracked(100);
    assert_eq!(stale(&mut space).len(), 100);
    assert_eq!(counts(&space), (9_900, 9_900));
    space.remember_read(b"k", B);
    let mut few = keyspace();
    few.remember_read(b"k", B);
    few.give_up_tracked(100);
    assert_eq!((stale(&mut few).len(), counts(&few)), (1, (0, 0)));
    space.forget_tracked();
    assert_eq!(counts(&space), (0, 0));
    let steps = (1..).find(|_| !space.free_tracked(100)).unwrap();
    assert!(steps > 50, "{steps}");
    space.forget_tracked();
    assert!(!space.is_tracked());
}

#[test]
fn very_many_clients_of_one_key_are_told_in_the_order_of_their_shards() {
    let mut space = keyspace();
    for id in (1..=1000).rev() {
        space.remember_read(b"k", ClientRef::new(id % 3, id as u64));
        space.remember_read(b"k", ClientRef::new(id % 3, id as u64));
    }
    assert_eq!(counts(&space), (1, 1000));
    set(&mut space, "k");
    let (stale, _) = space.take_invalidations();
    assert!(stale[0].clients.is_sorted_by_key(|client| client.shard()));
    assert_eq!(stale[0].clients.len(), 1000);
}
