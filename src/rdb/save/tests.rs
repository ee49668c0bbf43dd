use super::super::VERSION_VALKEY;
use super::super::dump;
use super::super::input::Input;
use super::super::load::{Limits, Value, load};
use super::*;
use crate::data::hash::Lifetime;
use crate::data::list::{End, Limit};
use crate::data::stream::{Group, Id, NewId, NodeLimits, Pending, Stream};
use crate::data::{hash, set, sorted_set};
use proptest::prelude::*;

const NOW: i64 = 1_700_000_000_000;

fn limits() -> Limits {
    Limits {
        hash: hash::Limits { fields: 8, string: 16 },
        list: Limit::new(16),
        set: set::Limits {
            intset_entries: 8,
            listpack_entries: 8,
            listpack_value: 16,
            hasher: ahash::RandomState::with_seeds(1, 2, 3, 4),
        },
        sorted_set: sorted_set::Limits { entries: 8, value: 16 },
    }
}

/// What a value holds, as text in an order that does not depend on its form.
fn content(object: &Object) -> String {
    match object {
        Object::List(list) => format!("{:?}", list.iter().map(Element::to_vec).collect::<Vec<_>>()),
        Object::Set(set) => {
            let mut all: Vec<Vec<u8>> = set.iter().map(Element::to_vec).collect();
            all.sort();
            format!("{all:?}")
        }
        Object::SortedSet(set) => format!("{set:?}"),
        Object::Hash(hash) => {
            let mut all = Vec::new();
            let mut position = 0;
            loop {
                position = hash.scan_with_expiry(position, NOW, &mut |field, value, at| {
                    all.push((field.to_vec(), format!("{value:?}"), at));
                });
                if position == 0 {
                    break;
                }
            }
            all.sort();
            format!("{all:?}")
        }
        Object::Stream(stream) => {
            let entries: Vec<_> = stream
                .log
                .range(Id::MIN, Id::MAX)
                .map(|m| (m.id, m.pairs().collect::<Vec<_>>()))
                .collect();
            let log = &stream.log;
            let counts =
                (log.len(), log.nodes(), log.first_id(), log.last_id, log.max_deleted, log.added);
            let groups: Vec<_> =
                stream.groups().map(|(name, group)| (name, shown(group))).collect();
            format!("{entries:?} {counts:?} {} {groups:?}", log.radix_nodes())
        }
    }
}

fn shown(group: &Group) -> String {
    let consumer = |c: &crate::data::stream::Consumer| {
        let pending: Vec<Id> = c.pending(Id::MIN..=Id::MAX).collect();
        format!("{:?} {} {:?} {pending:?}", c.name(), c.seen_at, c.active_at)
    };
    let consumers: Vec<String> = group.consumers().map(consumer).collect();
    let pending: Vec<_> = group
        .pending(Id::MIN..=Id::MAX)
        .map(|(id, p)| (id, p.delivered_at, p.deliveries))
        .collect();
    format!("{:?} {:?} {consumers:?} {pending:?}", group.last_id, group.entries_read)
}

/// Writes an object in steps, also in one, and reads it; what comes back must be the same.
fn round_trip(object: &Object, step: usize) {
    let value = ValueRef::Object(object);
    let (mut out, mut saver, mut steps) = (Output::default(), Saver::default(), 0);
    let mut longest = 0;
    loop {
        let before = out.bytes.len();
        let done = saver.step(&value, NOW, step, &mut out);
        longest = longest.max(out.bytes.len() - before);
        steps += 1;
        if done {
            break;
        }
    }
    assert!(steps >= out.bytes.len() / longest);
    let payload = dump::dump(ValueRef::Object(object), NOW);
    let (_, unsealed) = dump::unseal(&payload).unwrap();
    assert_eq!(unsealed[1..], out.bytes, "in one step as in several");
    let mut input = Input::new(&out.bytes[..], 1 << 20);
    let loaded = load(&mut input, kind_of(&value), VERSION_VALKEY, NOW, &limits()).unwrap();
    assert!(input.byte().is_err(), "all was read");
    let Some(Value::Object(loaded)) = loaded else { panic!("not a collection") };
    assert_eq!(content(&loaded), content(object));
    assert_eq!(loaded.encoding(), object.encoding());
}

fn text() -> BoxedStrategy<Vec<u8>> {
    prop_oneof![
        4 => (-70_000i64..70_000).prop_map(|n| n.to_string().into_bytes()),
        1 => any::<i64>().prop_map(|n| n.to_string().into_bytes()),
        4 => proptest::collection::vec(any::<u8>(), 0..12),
        1 => (any::<u8>(), 0usize..300).prop_map(|(byte, n)| vec![byte; n]),
    ]
    .boxed()
}

fn texts() -> impl Strategy<Value = Vec<Vec<u8>>> {
    proptest::collection::vec(text(), 1..60)
}

proptest! {
    #[test]
    fn lists_come_back(items in texts(), step in 1usize..2000) {
        let mut list = List::new();
        for item in &items {
            list.prepare(item.len(), 1, Limit::new(16));
            list.push(End::Back, Element::new(item), Limit::new(16));
        }
        let list = List::of(list.iter(), Limit::new(16));
        round_trip(&Object::List(list), step);
    }

    #[test]
    fn sets_come_back(members in texts(), few in any::<bool>(), step in 1usize..2000) {
        let limits = limits().set;
        let mut set = Set::new();
        for member in members.iter().take(if few { 7 } else { 60 }) {
            set.add(member, &limits);
        }
        round_trip(&Object::Set(set), step);
    }

    #[test]
    fn sets_of_integers_come_back(members in proptest::collection::btree_set(any::<i64>(), 1..20),
                                  shift in 0u32..64, step in 1usize..2000) {
        let limits = limits().set;
        let mut set = Set::new();
        for member in &members {
            set.add((member >> shift).to_string().as_bytes(), &limits);
        }
        round_trip(&Object::Set(set), step);
    }

    #[test]
    fn sorted_sets_come_back(members in texts(), scores in proptest::collection::vec(
        prop_oneof![any::<f64>(), (-9i32..9).prop_map(f64::from), Just(f64::INFINITY)], 60),
        few in any::<bool>(), step in 1usize..2000) {
        let limits = limits().sorted_set;
        let mut set = SortedSet::new(0, 0, limits);
        for (member, score) in members.iter().zip(scores).take(if few { 7 } else { 60 }) {
            set.insert(member, if score.is_nan() { 0.5 } else { score }, limits);
        }
        round_trip(&Object::SortedSet(set), step);
    }

    #[test]
    fn hashes_come_back(fields in texts(), values in proptest::collection::vec(text(), 60),
                        few in any::<bool>(), expire in 0usize..4, step in 1usize..2000) {
        let limits = limits().hash;
        let mut map = Hash::new();
        for (at, (field, value)) in fields.iter().zip(&values).take(if few { 7 } else { 60 }).enumerate() {
            // A long value that was replaced by a short one leaves its mark on the encoding.
            if fields[..at].contains(field) {
                continue;
            }
            let lifetime = match expire > 1 && at % expire == 1 {
                true => Lifetime::Until(NOW + at as i64 - 2),
                false => Lifetime::Endless,
            };
            map.set(field, FieldValue::of(value), lifetime, limits, NOW);
        }
        if map.live_len(NOW) > 0 && !(map.has_expiries() && map.live_len(NOW) < map.len()) {
            let expiring = map.has_expiries();
            let object = Object::Hash(map);
            prop_assert_eq!(kind_of(&ValueRef::Object(&object)) == kind::HASH_2, expiring);
            round_trip(&object, step);
        }
    }

    #[test]
    fn streams_come_back(entries in proptest::collection::vec(
        (0u64..3, 0u64..5, 0usize..4, text(), any::<u8>()), 0..60), step in 1usize..2000) {
        let mut stream = Stream::default();
        let limits = NodeLimits { bytes: 300, entries: 7 };
        let (mut ids, mut id) = (Vec::new(), Id::new(1, 0));
        for (ms, seq, names, value, fate) in &entries {
            id = Id::new(id.ms + ms, id.seq + seq + 1);
            let names: &[&[u8]] = match names {
                0 => &[b"a", b"b"],
                1 => &[b"7"],
                _ => &[b"a"],
            };
            let pairs: Vec<&[u8]> = names.iter().flat_map(|name| [*name, value]).collect();
            stream.log.append(NewId::Given(id), &pairs, limits).unwrap();
            ids.push((id, *fate));
        }
        let mut group = Group::new(id, None);
        let (one, _) = group.find_or_make(b"one", NOW);
        let (two, _) = group.find_or_make(b"two", NOW + 1);
        group.consumer_mut(two).active_at = Some(NOW + 2);
        group.find_or_make(b"three", NOW);
        for (id, fate) in &ids {
            let consumer = if fate % 3 == 0 { one } else { two };
            if fate % 4 > 0 {
                let deliveries = u64::from(*fate);
                group.assign(*id, Pending { consumer, delivered_at: NOW + 5, deliveries });
            }
            if fate % 5 == 0 {
                stream.log.delete(*id);
            }
        }
        stream.add_group(b"g", group);
        stream.add_group(b"h", Group::new(Id::MIN, Some(3)));
        round_trip(&Object::Stream(Box::new(stream)), step);
    }
}

#[test]
fn strings_are_one_word() {
    let payload = |value| dump::dump(value, NOW);
    assert_eq!(payload(ValueRef::Int(7))[..3], [0, 0xc0, 7]);
    assert_eq!(payload(ValueRef::Bytes(b"abc"))[..5], *b"\x00\x03abc");
}

#[test]
fn what_has_expired_is_not_written() {
    let limits = limits().hash;
    let mut map = Hash::new();
    for (field, at) in [(b"a", NOW - 1), (b"b", NOW), (b"c", NOW + 1)] {
        map.set(field, FieldValue::Int(1), Lifetime::Until(at), limits, NOW - 10);
    }
    let object = Object::Hash(map);
    let payload = dump::dump(ValueRef::Object(&object), NOW);
    let (version, content) = dump::unseal(&payload).unwrap();
    assert_eq!((version, &content[..2]), (VERSION_VALKEY, &[kind::HASH_2, 2][..]));
    let restore = |now| dump::restore((version, content), now, 100, &self::limits()).unwrap();
    let len = |value| match value {
        Some(Value::Object(object)) => object.elements(),
        _ => 0,
    };
    assert_eq!([NOW, NOW + 1, NOW + 2].map(|now| len(restore(now))), [2, 1, 0]);
}

#[test]
fn big_values_are_written_in_small_steps() {
    let limits = limits();
    let mut set = SortedSet::new(0, 0, limits.sorted_set);
    let mut members = Set::new();
    let mut list = List::to_fill();
    for n in 0..10_000 {
        let text = format!("member:{n}");
        set.insert(text.as_bytes(), f64::from(n), limits.sorted_set);
        members.add(text.as_bytes(), &limits.set);
        list.push(End::Back, Element::Bytes(text.as_bytes()), limits.list);
    }
    let objects = [Object::SortedSet(set), Object::Set(members), Object::List(list)];
    for object in objects {
        let value = ValueRef::Object(&object);
        let (mut out, mut saver) = (Output::default(), Saver::default());
        loop {
            let done = saver.step(&value, NOW, 1000, &mut out);
            assert!(out.bytes.len() < 3000, "{} bytes in a step", out.bytes.len());
            out.bytes.clear();
            if done {
                break;
            }
        }
    }
}
