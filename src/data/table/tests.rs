use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hasher};

use proptest::prelude::*;

use super::*;

/// Something to put in a table, on the heap so that Miri sees a leak or a double free.
struct Item(Box<(u32, [u8; 4], bool)>);

impl Item {
    fn new(number: u32) -> Self {
        Self::marked(number, false)
    }

    fn marked(number: u32, marked: bool) -> Self {
        Self(Box::new((number, number.to_be_bytes(), marked)))
    }
}

impl Keyed for Item {
    fn key(&self) -> &[u8] {
        &self.0.1
    }

    fn address(&self) -> *const u8 {
        self.0.1.as_ptr()
    }

    fn marked(&self) -> bool {
        self.0.2
    }
}

/// A good hash with some of its bits cleared, to force long chains and equal tags.
#[derive(Clone)]
struct Weak(u64);

struct WeakHasher(ahash::AHasher, u64);

impl BuildHasher for Weak {
    type Hasher = WeakHasher;

    fn build_hasher(&self) -> WeakHasher {
        let good = ahash::RandomState::with_seeds(1, 2, 3, 4);
        WeakHasher(good.build_hasher(), self.0)
    }
}

impl Hasher for WeakHasher {
    fn finish(&self) -> u64 {
        self.0.finish() & self.1
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }
}

type Items = Table<Item, Weak>;

fn table(bits: u64) -> Items {
    Table::with_hasher(Weak(bits))
}

fn filled(numbers: std::ops::Range<u32>) -> Items {
    let mut table = table(u64::MAX);
    for number in numbers {
        table.insert(hash(&table, number), Item::new(number));
    }
    table
}

fn hash(table: &Items, number: u32) -> u64 {
    table.hash(&number.to_be_bytes())
}

fn get(table: &Items, number: u32) -> Option<&Item> {
    table.get(hash(table, number), &number.to_be_bytes())
}

fn remove(table: &mut Items, number: u32) -> Option<Item> {
    table.remove(hash(table, number), &number.to_be_bytes())
}

/// Checks every invariant of the whole structure.
fn check(table: &Items) {
    let (mut len, mut marked, mut overflows) = (0, 0, 0);
    for index in 0..table.buckets.count() {
        let head = table.buckets.head(index);
        // SAFETY: here and below: live buckets and occupied places, nothing is changed meanwhile.
        let chain: Vec<_> =
            std::iter::successors(Some(head), |&at| unsafe { bucket::next_of(at) }).collect();
        overflows += chain.len() - 1;
        assert!(chain.len() <= table.deepest.max(1));
        for (depth, &bucket) in chain.iter().enumerate() {
            // SAFETY: a live bucket.
            let control = unsafe { bucket::control_of(bucket) };
            let slots: Vec<usize> = control.occupied().collect();
            if depth + 1 < chain.len() {
                assert_eq!(slots, [0, 1, 2, 3, 4, 5], "a hole in a chain");
            } else if depth > 0 {
                assert!(slots.len() >= 2, "an overflow bucket that is not needed");
            }
            for slot in slots {
                let place = Place { bucket, slot };
                // SAFETY: an occupied place.
                let item: &Item = unsafe { place.element() };
                let hash = table.hash(item.key());
                assert_eq!(table.buckets.index(hash), index);
                // SAFETY: an occupied place.
                assert_eq!(unsafe { place.is_marked() }, item.marked());
                assert!(table.contains(hash, item.key()), "hidden by a filter or a tag");
                len += 1;
                marked += usize::from(item.marked());
            }
        }
    }
    assert_eq!((len, marked, overflows), (table.len, table.marked, table.overflows));
    let (buckets, len) = (table.buckets(), table.len());
    assert!(len * GROW.1 <= buckets * GROW.0, "too full: {len} in {buckets}");
    assert!(buckets <= 1 || len * SHRINK.1 >= buckets * SHRINK.0, "too empty: {len} in {buckets}");
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases: if cfg!(miri) { 4 } else { cases },
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// Enough for several chunks; fewer where each access is interpreted.
const MANY: u32 = if cfg!(miri) { 300 } else { 40_000 };

#[test]
fn an_unused_table_owns_no_memory() {
    let table = table(u64::MAX);
    assert_eq!((table.memory(), table.len(), table.buckets()), (0, 0, 0));
    assert!(get(&table, 1).is_none());
    assert_eq!(table.scan(0, &mut |_| panic!("nothing is there")), 0);
    assert!(table.random(&mut || 7).is_none());
    table.prefetch_bucket(1);
    table.prefetch_entry(1);
}

#[test]
fn grows_and_shrinks_one_bucket_at_a_time() {
    let mut table = table(u64::MAX);
    for number in 0..MANY {
        let before = table.buckets();
        table.insert(hash(&table, number), Item::new(number));
        assert!(table.buckets() <= before + 1);
    }
    check(&table);
    assert!((0..MANY).all(|number| get(&table, number).is_some_and(|item| item.0.0 == number)));
    assert!((MANY..2 * MANY).all(|number| get(&table, number).is_none()));
    let full = table.memory();
    assert!(full < MANY as usize * 16 + 70_000, "{full}");
    for number in 0..MANY {
        let before = table.buckets();
        assert_eq!(remove(&mut table, number).map(|item| item.0.0), Some(number));
        assert!(table.buckets() + 1 >= before);
    }
    check(&table);
    assert_eq!((table.len(), table.buckets(), table.overflows), (0, 1, 0));
    assert!(table.memory() < 200);
}

#[test]
fn marks_follow_their_elements() {
    let mut table = table(u64::MAX);
    for number in 0..1000 {
        table.insert(hash(&table, number), Item::marked(number, number % 3 == 0));
    }
    assert_eq!(table.marked_len(), 334);
    let key = |number: u32| number.to_be_bytes();
    table.update(hash(&table, 1), &key(1), |item| item.0.2 = true);
    table.update(hash(&table, 3), &key(3), |item| *item = Item::new(3));
    assert!(table.insert_or_replace(hash(&table, 4), Item::marked(4, true)).is_some());
    assert!(table.insert_or_replace(hash(&table, 2000), Item::marked(2000, true)).is_none());
    check(&table);
    assert_eq!(table.marked_len(), 336);
    let mut seen = HashSet::new();
    let mut position = 0;
    loop {
        position = table.scan_marked(position, &mut |item| assert!(seen.insert(item.0.0)));
        if position == 0 {
            break;
        }
    }
    assert_eq!(seen.len(), 336);
    assert!(seen.contains(&1) && !seen.contains(&3));
}

/// Marked in part if the number says so.
struct Partial(Box<(u32, [u8; 4], u32)>);

impl Keyed for Partial {
    fn key(&self) -> &[u8] {
        &self.0.1
    }

    fn address(&self) -> *const u8 {
        self.0.1.as_ptr()
    }

    fn marked(&self) -> bool {
        self.0.2 > 0
    }

    fn marked_in_part(&self) -> bool {
        self.0.2 == 1
    }
}

#[test]
fn elements_marked_in_part_are_counted_apart() {
    let mut table: Table<Partial, Weak> = Table::with_hasher(Weak(u64::MAX));
    let make = |n: u32, mark| Partial(Box::new((n, n.to_be_bytes(), mark)));
    let hash = |table: &Table<Partial, Weak>, n: u32| table.hash(&n.to_be_bytes());
    for n in 0..900 {
        table.insert(hash(&table, n), make(n, n % 3));
    }
    let counts = |table: &Table<Partial, Weak>| (table.marked_len(), table.marked_in_part_len());
    assert_eq!(counts(&table), (600, 300));
    for (n, mark) in [(0, 1), (1, 0), (2, 1), (4, 2), (5, 2), (6, 0)] {
        table.update(hash(&table, n), &n.to_be_bytes(), |item| item.0.2 = mark);
    }
    assert_eq!(counts(&table), (600, 300));
    table.insert_or_replace(hash(&table, 7), make(7, 0));
    assert!(table.remove(hash(&table, 10), &10u32.to_be_bytes()).is_some());
    assert_eq!(counts(&table), (598, 298));
    let hash_11 = hash(&table, 11);
    assert!(table.get_where(hash_11, |item| item.0.0 == 11 && item.0.2 == 2).is_some());
    assert!(table.remove_where(hash_11, |item| item.0.0 == 12).is_none());
    assert!(table.remove_where(hash_11, |item| item.0.0 == 11).is_some());
    assert_eq!(counts(&table), (597, 298));
    let mut position = 0;
    loop {
        let mut wanted = |item: &Partial| item.0.2 == 1 && item.0.0 < 450;
        position = table.extract_marked(position, &mut wanted, &mut drop);
        if position == 0 {
            break;
        }
    }
    let count = |mark| table.iter().filter(|item| item.0.2 == mark).count();
    assert_eq!(counts(&table), (count(1) + count(2), count(1)));
    while !table.clear_step(100) {
        let count = table.iter().filter(|item| item.0.2 == 1).count();
        assert_eq!(table.marked_in_part_len(), count);
    }
    assert_eq!(counts(&table), (0, 0));
}

#[test]
fn extracts_the_marked_ones_that_are_wanted() {
    for bits in [u64::MAX, 0xff00_0000_0000_000f] {
        let mut table = table(bits);
        for number in 0..1000 {
            table.insert(hash(&table, number), Item::marked(number, number % 2 == 0));
        }
        let mut taken = HashSet::new();
        let (mut asked, mut position) = (0, 0);
        loop {
            position = table.extract_marked(
                position,
                &mut |item| {
                    asked += 1;
                    item.0.0 % 4 == 0
                },
                &mut |item| assert!(taken.insert(item.0.0)),
            );
            if position == 0 {
                break;
            }
        }
        assert!(asked >= 500);
        assert_eq!(taken, (0..1000).step_by(4).collect());
        check(&table);
        assert_eq!((table.len(), table.marked_len()), (750, 250));
    }
}

#[test]
fn random_is_fair() {
    let table = filled(0..200);
    let mut state = 1u64;
    let mut random = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        state ^ (state >> 29)
    };
    let draws = if cfg!(miri) { 500 } else { 200_000 };
    let mut hits = HashMap::new();
    for _ in 0..draws {
        let item = table.random(&mut random).expect("there are elements");
        *hits.entry(item.0.0).or_insert(0u32) += 1;
    }
    if !cfg!(miri) {
        // 1000 expected each, deviation 32.
        assert_eq!(hits.len(), 200);
        assert!(hits.values().all(|&n| (800..1200).contains(&n)), "{hits:?}");
    }
    assert!(table.random(&mut || 0).is_some());
    assert!(table.random(&mut || u64::MAX).is_some());
}

#[test]
fn clears_in_bounded_steps() {
    let mut table = filled(0..MANY);
    let mut steps = 0;
    while !table.clear_step(50) {
        steps += 1;
        if steps % 64 == 0 {
            let left: HashSet<u32> = table.iter().map(|item| item.0.0).collect();
            assert_eq!(left.len(), table.len());
            assert!(left.iter().all(|&number| get(&table, number).is_some()));
        }
    }
    assert!((MANY / 80..=MANY / 50).contains(&steps));
    assert_eq!((table.len(), table.memory()), (0, 0));
    table.insert(hash(&table, 5), Item::new(5));
    check(&table);
    assert!(get(&table, 5).is_some());
}

#[test]
fn iterates_over_everything_once() {
    let table = filled(0..500);
    let mut numbers: Vec<u32> = table.iter().map(|item| item.0.0).collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..500));
    let buckets = table.fill_histogram();
    assert_eq!(buckets.iter().sum::<usize>(), table.buckets());
    assert_eq!(buckets.iter().enumerate().map(|(n, count)| n * count).sum::<usize>(), 500);
}

#[test]
fn any_position_is_a_valid_cursor() {
    let table = filled(0..100);
    for position in [1, u64::MAX, 1 << POSITION_BITS, (1 << POSITION_BITS) - 1, 0x1234_5678_9abc] {
        let next = table.scan(position, &mut |_| ());
        assert!(next < 1 << POSITION_BITS);
        assert!(next == 0 || next > position & ((1 << POSITION_BITS) - 1));
    }
}

#[test]
fn a_walk_that_changes_shows_what_a_scan_shows() {
    for bits in [u64::MAX, 0x0f00_0000_0000_000f] {
        let mut table = table(bits);
        assert_eq!(table.scan_mut(0, &mut |_| panic!("nothing is there")), 0);
        (0..300).for_each(|number| table.insert(hash(&table, number), Item::new(number)));
        let mut position = 0;
        loop {
            let mut shown = Vec::new();
            let next = table.scan(position, &mut |item| shown.push(item.0.0));
            let mut changed = Vec::new();
            let same = table.scan_mut(position, &mut |item| {
                changed.push(item.0.0);
                item.0.0 += 1000;
            });
            assert_eq!((same, changed), (next, shown));
            position = next;
            if position == 0 {
                break;
            }
        }
        let mut numbers: Vec<u32> = table.iter().map(|item| item.0.0).collect();
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(1000..1300));
        check(&table);
    }
}

proptest! {
    #![proptest_config(cases(256))]

    /// Random inserts, removals and changes against a HashMap, with good and with bad hashes.
    #[test]
    fn behaves_like_a_map(
        bits in prop_oneof![
            Just(u64::MAX), Just(0xff00_0000_0000_0003), Just(0x0700_0000_0000_ffff), Just(0)
        ],
        steps in prop::collection::vec((0u32..120, 0u8..4, any::<bool>()), 0..400),
    ) {
        let mut table = table(bits);
        let mut model = HashMap::new();
        for (number, action, marked) in steps {
            let hash = hash(&table, number);
            let key = number.to_be_bytes();
            match action {
                0 | 1 => {
                    let old = table.insert_or_replace(hash, Item::marked(number, marked));
                    prop_assert_eq!(old.map(|item| item.0.2), model.insert(number, marked));
                }
                2 => {
                    let changed = table.update(hash, &key, |item| item.0.2 = marked);
                    prop_assert_eq!(changed.is_some(), model.contains_key(&number));
                    model.entry(number).and_modify(|mark| *mark = marked);
                }
                _ => {
                    let old = remove(&mut table, number);
                    prop_assert_eq!(old.map(|item| item.0.2), model.remove(&number));
                }
            }
            table.prefetch_entry(hash);
        }
        // A table whose hashes are all alike cannot be kept to its fill by splitting.
        check(&table);
        let found: HashMap<u32, bool> = table.iter().map(|item| (item.0.0, item.0.2)).collect();
        prop_assert_eq!(found, model);
    }

    /// SCAN's guarantee: what stays for the whole walk is seen, whatever else comes and goes and
    /// however the table grows and shrinks between the steps.
    #[test]
    fn a_scan_sees_all_that_stays(
        stay in prop::collection::hash_set(0u32..1000, 0..60),
        start in 0u32..600,
        changes in prop::collection::vec((any::<bool>(), 0u32..400), 1..60),
    ) {
        let mut table = table(u64::MAX);
        for number in stay.iter().copied().chain(1000..1000 + start) {
            table.insert(hash(&table, number), Item::new(number));
        }
        let (mut low, mut high) = (1000, 1000 + start);
        let mut changes = changes.into_iter();
        let mut seen = HashSet::new();
        let mut position = 0;
        loop {
            let next = table.scan(position, &mut |item| {
                seen.insert(item.0.0);
            });
            prop_assert!(next == 0 || next > position);
            position = next;
            if position == 0 {
                break;
            }
            // A few changes of size spread over the walk, then it runs on undisturbed.
            let Some((grow, by)) = changes.next() else { continue };
            for _ in 0..by {
                if grow {
                    table.insert(hash(&table, high), Item::new(high));
                    high += 1;
                } else if low < high {
                    remove(&mut table, low);
                    low += 1;
                }
            }
        }
        prop_assert!(stay.is_subset(&seen));
    }
}
