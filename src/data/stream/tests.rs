//! Streams against models of maps and vectors.

use super::node::MAX_BYTES;
use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

#[derive(Clone, Debug)]
enum Step {
    /// So much behind the last id, and the pairs.
    Add(u64, u64, Pairs),
    Delete(usize),
    MaxLen(u64),
    MinId(usize),
    Approximately(u64, u64),
    Copy,
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => any::<i64>().prop_map(|n| n.to_string().into_bytes()),
        4 => (-5000i64..5000).prop_map(|n| n.to_string().into_bytes()),
        4 => proptest::collection::vec(any::<u8>(), 0..12),
        1 => (0usize..300).prop_map(|len| vec![b'x'; len]),
        1 => Just(vec![b'y'; 5000]),
    ]
}

fn pairs() -> impl Strategy<Value = Pairs> {
    let name = || prop_oneof![Just(b"a".to_vec()), Just(b"b".to_vec()), Just(b"12".to_vec())];
    prop_oneof![
        4 => (text(), text())
            .prop_map(|(a, b)| vec![(b"name".to_vec(), a), (b"value".to_vec(), b)]),
        1 => proptest::collection::vec((name(), text()), 1..4),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let behind = prop_oneof![
        8 => (0u64..3, 1u64..200),
        1 => (0u64..1 << 40, 0u64..3),
        1 => (1u64..3, any::<u64>()),
    ];
    prop_oneof![
        30 => (behind, pairs()).prop_map(|((ms, seq), pairs)| Step::Add(ms, seq, pairs)),
        6 => any::<usize>().prop_map(Step::Delete),
        1 => (0u64..40).prop_map(Step::MaxLen),
        1 => any::<usize>().prop_map(Step::MinId),
        1 => (0u64..40, 0u64..20).prop_map(|(max, limit)| Step::Approximately(max, limit)),
        1 => Just(Step::Copy),
    ]
}

fn limits() -> impl Strategy<Value = NodeLimits> {
    let bytes = prop_oneof![Just(0), Just(100), Just(600), Just(4096)];
    let entries = prop_oneof![Just(0), Just(1), Just(5), Just(100)];
    (bytes, entries).prop_map(|(bytes, entries)| NodeLimits { bytes, entries })
}

/// What is in a message.
fn content(message: &Message) -> Pairs {
    let text = |value: Value| match value {
        Value::Int(int) => int.to_string().into_bytes(),
        Value::Bytes(bytes) => bytes.to_vec(),
    };
    message.pairs().map(|(name, value)| (text(name), text(value))).collect()
}

fn flat(pairs: &Pairs) -> Vec<&[u8]> {
    pairs.iter().flat_map(|(name, value)| [&name[..], &value[..]]).collect()
}

#[derive(Default)]
struct Model {
    entries: BTreeMap<Id, Pairs>,
    last: Id,
    max_deleted: Id,
    added: u64,
}

impl Model {
    /// An id near an entry, if there is one.
    fn near(&self, at: usize) -> Id {
        let ids: Vec<Id> = self.entries.keys().copied().collect();
        match ids.get(at % (ids.len() + 1)) {
            Some(id) if at.is_multiple_of(3) => id.next().unwrap_or(*id),
            Some(id) => *id,
            None => Id::new(at as u64 % 10, 3),
        }
    }

    fn run(&mut self, log: &mut Log, step: &Step, limits: NodeLimits) {
        match step {
            Step::Add(ms, seq, pairs) => {
                let ms = self.last.ms.saturating_add(*ms);
                let seq =
                    if ms == self.last.ms { self.last.seq.saturating_add(*seq) } else { *seq };
                let id = Id::new(ms, seq);
                let added = log.append(NewId::Given(id), &flat(pairs), limits);
                if id <= self.last {
                    assert_eq!(added, Err(Refused::NotGreater));
                    return;
                }
                assert_eq!(added, Ok(id));
                self.entries.insert(id, pairs.clone());
                self.last = id;
                self.added += 1;
            }
            Step::Delete(at) => {
                let id = self.near(*at);
                let there = self.entries.remove(&id).is_some();
                assert_eq!(log.delete(id), there);
                if there {
                    self.max_deleted = self.max_deleted.max(id);
                }
            }
            Step::MaxLen(max) => {
                let excess = (self.entries.len() as u64).saturating_sub(*max);
                assert_eq!(log.trim(Trim::MaxLen(*max), false, 0), excess);
                (0..excess).for_each(|_| drop(self.entries.pop_first()));
            }
            Step::MinId(at) => {
                let min = self.near(*at);
                let rest = self.entries.split_off(&min);
                let gone = std::mem::replace(&mut self.entries, rest);
                assert_eq!(log.trim(Trim::MinId(min), false, 0), gone.len() as u64);
            }
            Step::Approximately(max, limit) => {
                let trimmed = log.trim(Trim::MaxLen(*max), true, *limit);
                assert!(*limit == 0 || trimmed <= *limit);
                assert!(trimmed <= (self.entries.len() as u64).saturating_sub(*max));
                (0..trimmed).for_each(|_| drop(self.entries.pop_first()));
            }
            Step::Copy => *log = log.clone(),
        }
    }

    fn check(&self, log: &Log, at: usize) {
        assert_eq!(log.len(), self.entries.len() as u64);
        assert_eq!(
            (log.last_id, log.max_deleted, log.added),
            (self.last, self.max_deleted, self.added)
        );
        assert_eq!(log.first_id(), self.entries.keys().next().copied().unwrap_or_default());
        assert_eq!(log.last_live(), self.entries.keys().next_back().copied());
        let (a, b) = (self.near(at), self.near(at / 7));
        for (start, end) in [(Id::MIN, Id::MAX), (a.min(b), a.max(b)), (a.max(b), a.min(b))] {
            let expected: Vec<(Id, &Pairs)> = match start <= end {
                true => self.entries.range(start..=end).map(|(id, pairs)| (*id, pairs)).collect(),
                false => Vec::new(),
            };
            let found: Vec<_> = log.range(start, end).collect();
            let mut back: Vec<_> = log.range_back(start, end).map(|message| message.id).collect();
            back.reverse();
            assert_eq!(back, expected.iter().map(|(id, _)| *id).collect::<Vec<_>>());
            assert_eq!(found.len(), expected.len());
            for (message, (id, pairs)) in found.iter().zip(&expected) {
                assert_eq!(message.id, *id);
                assert_eq!(message.len(), pairs.len());
                assert_eq!(content(message), **pairs);
            }
            assert_eq!(log.count(start, end, usize::MAX), expected.len());
            assert_eq!(log.count(start, end, 3), expected.len().min(3));
        }
        assert_eq!(log.get(a).is_some(), self.entries.contains_key(&a));
        assert_eq!(log.radix_nodes() == 1, log.nodes() == 0);
    }
}

proptest! {
    #[test]
    fn a_log_holds_what_a_map_would(
        steps in proptest::collection::vec((step(), any::<usize>()), 1..120),
        limits in limits(),
    ) {
        let (mut model, mut log) = (Model::default(), Log::default());
        for (step, at) in steps {
            model.run(&mut log, &step, limits);
            model.check(&log, at);
        }
        let allocated = log.allocated();
        let copy = log.clone();
        prop_assert!(copy.allocated() <= allocated);
        while log.free_some(2) {}
        prop_assert_eq!(log.nodes(), 0);
    }

    #[test]
    fn the_pending_entries_of_a_group_are_those_of_its_consumers(
        steps in proptest::collection::vec((0u8..12, 0u64..30, 0usize..4), 1..200),
    ) {
        let names: [&[u8]; 4] = [b"a", b"bb", b"", b"c"];
        let mut group = Group::new(Id::MIN, Some(0));
        let mut model: BTreeMap<Id, (usize, i64)> = BTreeMap::new();
        for (kind, ms, at) in steps {
            let id = Id::new(ms, 1);
            match kind {
                0 => {
                    let mine = model.values().filter(|(own, _)| *own == at).count();
                    let there = group.find(names[at]).is_some();
                    model.retain(|_, (own, _)| *own != at);
                    prop_assert_eq!(group.remove_consumer(names[at]), there.then_some(mine));
                }
                1..4 => prop_assert_eq!(group.acknowledge(id), model.remove(&id).is_some()),
                _ => {
                    let (consumer, _) = group.find_or_make(names[at], 5);
                    group.assign(id, Pending { consumer, delivered_at: ms as i64, deliveries: 1 });
                    model.insert(id, (at, ms as i64));
                }
            }
            let all = group.pending(Id::MIN..=Id::MAX);
            let all: Vec<_> = all
                .map(|(id, it)| (id, group.consumer(it.consumer).name().to_vec(), it.delivered_at))
                .collect();
            let expected = model.iter().map(|(id, (own, at))| (*id, names[*own].to_vec(), *at));
            prop_assert_eq!(all, expected.collect::<Vec<_>>());
            prop_assert_eq!(group.pending_len(), model.len());
            for (own, name) in names.iter().enumerate() {
                let Some(consumer) = group.find(name) else { continue };
                let ids: Vec<Id> = group.consumer(consumer).pending(Id::MIN..=Id::MAX).collect();
                let expected = model.iter().filter(|(_, (of, _))| *of == own).map(|(id, _)| *id);
                prop_assert_eq!(ids, expected.collect::<Vec<_>>());
            }
            let sorted: Vec<&[u8]> = group.consumers().map(Consumer::name).collect();
            prop_assert!(sorted.is_sorted());
        }
    }
}

const DEFAULT: NodeLimits = NodeLimits { bytes: 4096, entries: 100 };

fn filled(entries: u64) -> Log {
    let mut log = Log::default();
    for at in 0..entries {
        let value = format!("{}", 20 + at % 7);
        let pairs: [&[u8]; 4] = [b"sensor", b"1234", b"temperature", value.as_bytes()];
        log.append(NewId::Now(1_700_000_000_000 + at / 3), &pairs, DEFAULT).unwrap();
    }
    log
}

#[test]
fn an_entry_takes_few_bytes() {
    let log = filled(10_000);
    assert_eq!(log.nodes(), 100);
    let each = log.allocated() as f64 / 10_000.0;
    assert!(each < 12.0, "{each} bytes per entry");
}

#[test]
fn ids_are_made_of_the_time_and_never_go_back() {
    let mut log = Log::default();
    let mut add = |id| log.append(id, &[b"a", b"b"], DEFAULT);
    assert_eq!(add(NewId::Within(0)), Ok(Id::new(0, 1)));
    assert_eq!(add(NewId::Now(5)), Ok(Id::new(5, 0)));
    assert_eq!(add(NewId::Now(4)), Ok(Id::new(5, 1)));
    assert_eq!(add(NewId::Within(5)), Ok(Id::new(5, 2)));
    assert_eq!(add(NewId::Within(4)), Err(Refused::NotGreater));
    assert_eq!(add(NewId::Within(6)), Ok(Id::new(6, 0)));
    assert_eq!(add(NewId::Given(Id::new(6, 0))), Err(Refused::NotGreater));
    assert_eq!(add(NewId::Given(Id::new(6, u64::MAX))), Ok(Id::new(6, u64::MAX)));
    assert_eq!(add(NewId::Within(6)), Err(Refused::NotGreater));
    assert_eq!(add(NewId::Now(6)), Ok(Id::new(7, 0)));
    assert_eq!(add(NewId::Given(Id::MAX)), Ok(Id::MAX));
    assert_eq!(add(NewId::Now(u64::MAX)), Err(Refused::NotGreater));
    assert_eq!(log.len(), 8);
}

#[test]
fn an_entry_larger_than_a_node_may_be_is_refused() {
    let mut log = Log::default();
    let big = vec![0; MAX_BYTES / 4];
    let pairs: Vec<&[u8]> = vec![b"a", &big, b"b", &big, b"c", &big, b"d", &big];
    assert_eq!(log.append(NewId::Now(1), &pairs, DEFAULT), Err(Refused::TooLarge));
    assert_eq!((log.len(), log.nodes()), (0, 0));
}

#[test]
fn an_emptied_node_stays_while_a_deleted_entry_of_it_is_not_trimmed() {
    let mut log = Log::default();
    for seq in 1..=3 {
        log.append(NewId::Given(Id::new(1, seq)), &[b"a", b"b"], DEFAULT).unwrap();
    }
    assert!(log.delete(Id::new(1, 3)));
    assert_eq!(log.trim(Trim::MinId(Id::new(1, 3)), false, 0), 2);
    assert_eq!((log.len(), log.nodes(), log.first_id()), (0, 1, Id::MIN));
    // Gone back, with what XSETID can do, the id does not fit in that node any more.
    log.last_id = Id::MIN;
    assert_eq!(log.append(NewId::Now(0), &[b"a", b"b"], DEFAULT), Ok(Id::new(0, 1)));
    assert_eq!(log.nodes(), 1);
    assert_eq!(log.range(Id::MIN, Id::MAX).count(), 1);
}

#[test]
fn a_stream_is_freed_in_bounded_steps() {
    let mut stream = Stream { log: filled(1000), ..Stream::default() };
    assert!(stream.add_group(b"g", Group::new(Id::MIN, None)));
    assert!(!stream.add_group(b"g", Group::new(Id::MIN, None)));
    let (log, group) = stream.group_mut(b"g").unwrap();
    let (consumer, made) = group.find_or_make(b"c", 0);
    assert!(made);
    for message in log.range(Id::MIN, Id::MAX) {
        group.assign(message.id, Pending { consumer, delivered_at: 0, deliveries: 1 });
    }
    // 10 nodes, twice 16 chunks and a consumer.
    let steps = (1..).find(|_| !stream.free_some(5)).unwrap();
    assert!((8..12).contains(&steps), "{steps}");
}

#[test]
fn a_group_counts_what_it_has_read() {
    let mut log = Log::default();
    for ms in 1..=5 {
        log.append(NewId::Given(Id::new(ms, 0)), &[b"a", b"b"], DEFAULT).unwrap();
    }
    let mut group = Group::new(Id::MIN, None);
    assert_eq!(group.lag(&log), Some(5));
    group.read(Id::new(1, 0), &log);
    group.read(Id::new(2, 0), &log);
    assert_eq!((group.entries_read, group.lag(&log)), (Some(2), Some(3)));
    // What is missing ahead makes it impossible to tell.
    assert!(log.delete(Id::new(4, 0)));
    assert_eq!(group.lag(&log), None);
    group.read(Id::new(3, 0), &log);
    assert_eq!((group.entries_read, group.lag(&log)), (None, None));
    group.read(Id::new(5, 0), &log);
    assert_eq!((group.entries_read, group.lag(&log)), (Some(5), Some(0)));
}
