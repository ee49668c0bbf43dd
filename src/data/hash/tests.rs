use std::collections::{BTreeMap, BTreeSet, HashSet};

use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits { fields: 12, string: 40 };

fn value(text: &[u8]) -> FieldValue<'_> {
    FieldValue::of(text)
}

fn text(value: FieldValue) -> Vec<u8> {
    match value {
        FieldValue::Int(int) => int.to_string().into_bytes(),
        FieldValue::Bytes(bytes) => bytes.to_vec(),
    }
}

fn set(hash: &mut Hash, field: &str, to: &str) -> bool {
    hash.set(field.as_bytes(), value(to.as_bytes()), Lifetime::Endless, LIMITS, 0)
}

#[test]
fn the_limits_decide_the_form() {
    let mut hash = Hash::new();
    for n in 0..LIMITS.fields {
        assert!(set(&mut hash, &n.to_string(), "v"));
    }
    assert!(!set(&mut hash, "3", &"v".repeat(LIMITS.string)));
    assert_eq!(hash.encoding(), Encoding::Listpack);
    assert!(set(&mut hash, "more", "v"));
    assert_eq!(hash.encoding(), Encoding::Hashtable);
    assert!(hash.remove(b"more", 0) && !hash.remove(b"more", 0));
    assert_eq!((hash.encoding(), hash.len()), (Encoding::Hashtable, LIMITS.fields));
    for (field, to) in [("f".repeat(41), "v".to_string()), ("f".to_string(), "v".repeat(41))] {
        let mut hash = Hash::new();
        set(&mut hash, &field, &to);
        assert_eq!(hash.encoding(), Encoding::Hashtable);
        assert_eq!(hash.get(field.as_bytes(), 0), Some(value(to.as_bytes())));
    }
    let mut hash = Hash::new();
    hash.expect(LIMITS.fields, 100, LIMITS);
    assert_eq!(hash.encoding(), Encoding::Listpack);
    hash.expect(LIMITS.fields + 1, 100, LIMITS);
    assert_eq!(hash.encoding(), Encoding::Hashtable);
}

#[test]
fn a_field_that_expires_makes_a_table() {
    let mut hash = Hash::new();
    set(&mut hash, "a", "1");
    hash.set_expire(b"a", None);
    assert_eq!(hash.encoding(), Encoding::Listpack);
    hash.set_expire(b"a", Some(100));
    assert_eq!(hash.encoding(), Encoding::Hashtable);
    assert_eq!((hash.next_expiry(), hash.last_expiry()), (Some(100), Some(100)));
    set(&mut hash, "b", "2");
    assert_eq!((hash.next_expiry(), hash.last_expiry()), (Some(100), None));
    assert_eq!((hash.live_len(100), hash.live_len(101), hash.len()), (2, 1, 2));
    assert_eq!(hash.expiry(b"a", 100), Some(Some(100)));
    assert_eq!((hash.expiry(b"a", 101), hash.expiry(b"b", 101)), (None, Some(None)));
    assert!(!hash.remove(b"a", 101), "it has expired");
    assert!(!hash.has_expiries() && hash.next_expiry().is_none());
}

#[test]
fn what_has_expired_is_purged_in_its_order() {
    let mut hash = Hash::new();
    for n in 0..100i64 {
        let field = n.to_string();
        let until = Lifetime::Until(1000 + n / 10);
        hash.set(field.as_bytes(), FieldValue::Int(n), until, LIMITS, 0);
    }
    assert_eq!((hash.purge(1000, 100, &mut |_| ()), hash.live_len(1000)), (0, 100));
    assert_eq!((hash.purge(1003, 7, &mut |_| ()), hash.len(), hash.live_len(1003)), (7, 93, 70));
    assert_eq!(
        (hash.purge(1003, 100, &mut |_| ()), hash.len(), hash.next_expiry()),
        (23, 70, Some(1003))
    );
    assert_eq!(
        (hash.purge(i64::MAX, 1000, &mut |_| ()), hash.len(), hash.has_expiries()),
        (70, 0, false)
    );
}

#[test]
fn memory_is_counted() {
    let mut hash = Hash::new();
    assert_eq!(hash.allocated(), 0);
    set(&mut hash, "field", "value");
    assert_eq!(hash.allocated(), 16);
    for n in 0..1000 {
        set(&mut hash, &format!("field:{n:06}"), &format!("value:{n:06}"));
    }
    let full = hash.allocated();
    assert!((1000 * 32..1000 * 32 + 30_000).contains(&full), "{full}");
    assert_eq!(hash.duplicate().allocated(), full);
    (0..500).for_each(|n| hash.set_expire(format!("field:{n:06}").as_bytes(), Some(9)));
    assert!(hash.allocated() > full + 500 * 24, "{} after {full}", hash.allocated());
    hash.purge(10, usize::MAX, &mut |_| ());
    assert!(hash.allocated() < full * 7 / 10, "{} after {full}", hash.allocated());
    let mut steps = 0;
    while !hash.clear_step(50) {
        steps += 1;
    }
    assert!((8..20).contains(&steps), "{steps}");
}

#[test]
fn a_walk_meets_every_field_that_stays() {
    let all = if cfg!(miri) { 100 } else { 1000 };
    let mut hash = Hash::new();
    for n in 0..all {
        set(&mut hash, &format!("stay:{n}"), "v");
    }
    let (mut position, mut seen, mut n) = (0, HashSet::new(), 0);
    loop {
        position = hash.scan(position, 0, &mut |field, _| {
            seen.insert(field.to_vec());
        });
        if position == 0 {
            break;
        }
        // Growth in the first half of the walk, shrinking in the second.
        for _ in 0..20 {
            let field = format!("go:{}", n % (2 * all));
            if n < 2 * all {
                set(&mut hash, &field, "v");
            } else {
                hash.remove(field.as_bytes(), 0);
            }
            n += 1;
        }
    }
    assert!(n > 4 * all, "{n}");
    assert_eq!(seen.iter().filter(|field| field.starts_with(b"stay")).count(), all);
}

/// One step of a random program.
#[derive(Debug, Clone)]
enum Step {
    Set(u8, Vec<u8>, Lifetime),
    Remove(u8),
    Expire(u8, Option<i64>),
    Purge(usize),
    Wait(i64),
    Copy,
}

fn step() -> impl Strategy<Value = Step> {
    let field = || 0u8..20;
    let strings = prop_oneof![
        4 => proptest::collection::vec(any::<u8>(), 0..30),
        4 => any::<i64>().prop_map(|n| (n >> (n & 63)).to_string().into_bytes()),
        1 => (35usize..45).prop_map(|n| vec![b'v'; n]),
    ];
    let lifetime = prop_oneof![
        12 => Just(Lifetime::Endless),
        2 => Just(Lifetime::AsBefore),
        2 => (0i64..50).prop_map(Lifetime::Until),
    ];
    prop_oneof![
        12 => (field(), strings, lifetime).prop_map(|(f, v, l)| Step::Set(f, v, l)),
        6 => field().prop_map(Step::Remove),
        3 => (field(), proptest::option::of(0i64..50)).prop_map(|(f, at)| Step::Expire(f, at)),
        1 => (0usize..4).prop_map(Step::Purge),
        2 => (0i64..5).prop_map(Step::Wait),
        1 => Just(Step::Copy),
    ]
}

/// Field names that need all forms of lengths: of a few bytes, of hundreds, none.
fn name(field: u8) -> Vec<u8> {
    match field {
        0 => Vec::new(),
        1 => vec![b'L'; 300],
        n => format!("field:{n}").into_bytes(),
    }
}

type Model = BTreeMap<Vec<u8>, (Vec<u8>, Option<i64>)>;

fn apply(hash: &mut Hash, model: &mut Model, now: &mut i64, step: Step) {
    let at = *now;
    let is_live = |entry: &(Vec<u8>, Option<i64>)| entry.1.is_none_or(|t| at <= t);
    match step {
        Step::Set(field, to, lifetime) => {
            let field = name(field);
            let old = model.get(&field).cloned().filter(is_live);
            let until = match lifetime {
                Lifetime::Endless => None,
                Lifetime::AsBefore => old.as_ref().and_then(|old| old.1),
                Lifetime::Until(until) => Some(until),
            };
            let new = hash.set(&field, value(&to), lifetime, LIMITS, at);
            assert_eq!(new, old.is_none());
            model.insert(field, (to, until));
        }
        Step::Remove(field) => {
            let old = model.remove(&name(field)).filter(is_live);
            assert_eq!(hash.remove(&name(field), at), old.is_some());
        }
        Step::Expire(field, until) => {
            if let Some(entry) = model.get_mut(&name(field)).filter(|entry| is_live(entry)) {
                hash.set_expire(&name(field), until);
                entry.1 = until;
            }
        }
        Step::Purge(max) => {
            let before = hash.len();
            let gone = hash.purge(at, max, &mut |_| ());
            assert_eq!((hash.len() + gone, gone <= max), (before, true));
            assert!(gone == max || hash.live_len(at) == hash.len());
        }
        Step::Wait(ms) => *now += ms,
        Step::Copy => *hash = hash.duplicate(),
    }
}

fn check(hash: &Hash, model: &Model, now: i64) {
    let live: BTreeMap<_, _> =
        model.iter().filter(|(_, (_, until))| until.is_none_or(|t| now <= t)).collect();
    assert_eq!(hash.live_len(now), live.len());
    for field in 0..20 {
        let field = name(field);
        let entry = live.get(&field);
        assert_eq!(hash.get(&field, now).map(text), entry.map(|entry| entry.0.clone()));
        assert_eq!(hash.expiry(&field, now), entry.map(|entry| entry.1));
    }
    let mut shown = BTreeMap::new();
    hash.each(now, |field, value| assert!(shown.insert(field.to_vec(), text(value)).is_none()));
    assert_eq!(shown.len(), live.len());
    let (mut position, mut scanned) = (0, BTreeSet::new());
    loop {
        position = hash.scan(position, now, &mut |field, value| {
            assert_eq!(shown.get(field), Some(&text(value)));
            scanned.insert(field.to_vec());
        });
        if position == 0 {
            break;
        }
    }
    assert_eq!(scanned.len(), live.len());
    // Purged fields are gone from the hash, not from the model; live ones tell when the last goes.
    let last = live.values().map(|entry| entry.1).max();
    if live.values().all(|entry| entry.1.is_some()) && !live.is_empty() {
        assert_eq!(hash.last_expiry(), last.flatten());
    }
    assert_eq!(hash.has_expiries(), hash.next_expiry().is_some());
    let next = live.values().filter_map(|entry| entry.1).min();
    assert!(hash.next_expiry() <= next || next.is_none());
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 2 } else { 1000 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn behaves_like_a_map(
        steps in proptest::collection::vec(step(), 1..if cfg!(miri) { 40 } else { 120 }),
    ) {
        let (mut hash, mut model, mut now) = (Hash::new(), Model::new(), 0);
        for step in steps {
            apply(&mut hash, &mut model, &mut now, step);
            check(&hash, &model, now);
        }
    }
}
