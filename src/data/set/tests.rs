use super::*;
use std::collections::{BTreeSet, HashMap};

fn limits() -> Limits {
    Limits {
        intset_entries: 20,
        listpack_entries: 16,
        listpack_value: 10,
        hasher: RandomState::with_seeds(1, 2, 3, 4),
    }
}

fn set(members: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Set {
    let mut set = Set::new();
    for member in members {
        assert!(set.add(member.as_ref(), &limits()));
    }
    set
}

fn numbers(range: std::ops::Range<usize>) -> Set {
    set(range.map(|n| n.to_string()))
}

/// A set of each form, of as many members.
fn of_all_forms() -> [Set; 3] {
    let small = |n: usize| format!("m{n}");
    let sets = [
        numbers(0..12),
        set((0..12).map(small)),
        set((0..12).map(|n| format!("member number {n}"))),
    ];
    assert_eq!(sets.each_ref().map(Set::encoding), FORMS);
    sets
}

const FORMS: [Encoding; 3] = [Encoding::Intset, Encoding::Listpack, Encoding::Hashtable];

fn texts(set: &Set) -> BTreeSet<Vec<u8>> {
    let texts: Vec<_> = set.iter().map(Element::to_vec).collect();
    assert_eq!(texts.len(), set.len());
    texts.into_iter().collect()
}

#[test]
fn the_form_follows_the_members() {
    let limits = limits();
    let mut ints = numbers(0..20);
    assert_eq!(ints.encoding(), Encoding::Intset);
    assert!(!ints.add(b"7", &limits) && ints.add(b"-1", &limits));
    assert_eq!((ints.encoding(), ints.len()), (Encoding::Hashtable, 21));
    // A word makes a small one packed, a bigger one a table.
    for (len, word, encoding) in [
        (15, "word", Encoding::Listpack),
        (16, "word", Encoding::Hashtable),
        (3, "long word..", Encoding::Hashtable),
    ] {
        let mut mixed = numbers(0..len);
        assert!(mixed.add(word.as_bytes(), &limits));
        assert_eq!((mixed.encoding(), mixed.len()), (encoding, len + 1), "{len} {word}");
        assert!(mixed.contains(b"2") && mixed.contains(word.as_bytes()));
        assert!(!mixed.contains(b"02") && !mixed.contains(b""));
    }
    let mut long_ints = set(["12345678901"]);
    assert!(long_ints.add(b"x", &limits));
    assert_eq!(long_ints.encoding(), Encoding::Hashtable, "the number is too long to be packed");
    let mut words = set((0..16).map(|n| format!("w{n}")));
    assert_eq!(words.encoding(), Encoding::Listpack);
    assert!(!words.add(b"w0", &limits) && words.add(b"5", &limits));
    assert_eq!((words.encoding(), words.len()), (Encoding::Hashtable, 17));
}

#[test]
fn a_new_set_suits_what_is_expected() {
    let encoding =
        |first: &str, expected| Set::for_members(first.as_bytes(), expected, &limits()).encoding();
    assert_eq!([encoding("1", 20), encoding("x", 16), encoding("x", 17)], FORMS);
    assert_eq!(encoding("1", 21), Encoding::Hashtable);
    let [mut ints, mut words, _] = of_all_forms();
    ints.expect(20, &limits());
    words.expect(16, &limits());
    assert_eq!([ints.encoding(), words.encoding()], [Encoding::Intset, Encoding::Listpack]);
    ints.expect(21, &limits());
    words.expect(17, &limits());
    assert_eq!([ints.encoding(), words.encoding()], [Encoding::Hashtable; 2]);
    assert_eq!([ints.len(), words.len()], [12, 12]);
}

#[test]
fn members_are_the_same_in_every_form() {
    let limits = limits();
    let mut table = numbers(0..21);
    assert_eq!(table.encoding(), Encoding::Hashtable);
    let mut ints = numbers(0..10);
    assert!(table.iter().all(|member| ints.holds(member) == (ints.len() == 10 && digits(member))));
    assert!(ints.iter().all(|member| table.holds(member)));
    assert!(table.discard(Element::Int(5)) && !table.contains(b"5"));
    assert!(!ints.adopt(Element::Bytes(b"5"), &limits) && ints.discard(Element::Bytes(b"5")));
    assert!(table.adopt(Element::Int(5), &limits) && !table.add(b"5", &limits));
    let mut packed = set(["x"]);
    assert!(packed.adopt(Element::Bytes(b"17"), &limits) && packed.holds(Element::Int(17)));
    assert!(!packed.adopt(Element::Int(17), &limits) && packed.remove(b"17"));
    table.prefer_ints(&limits);
    assert_eq!(table.encoding(), Encoding::Hashtable, "one too many");
    table.remove(b"20");
    table.prefer_ints(&limits);
    assert_eq!((table.encoding(), table.len()), (Encoding::Intset, 20));
    packed.prefer_ints(&limits);
    assert_eq!(packed.encoding(), Encoding::Listpack);
}

fn digits(member: Element) -> bool {
    member.text_len() == 1
}

#[test]
fn copies_and_walks_have_all_members() {
    for set in of_all_forms() {
        let copy = set.duplicate();
        assert_eq!((copy.encoding(), texts(&copy)), (set.encoding(), texts(&set)));
        let (mut position, mut seen) = (0, BTreeSet::new());
        loop {
            position = set.scan(position, &mut |member| {
                seen.insert(member.to_vec());
            });
            if position == 0 {
                break;
            }
        }
        assert_eq!(seen, texts(&set));
    }
}

#[test]
fn freeing_comes_to_an_end() {
    for mut set in of_all_forms() {
        let steps = (1..).find(|_| set.free_some(2)).unwrap();
        assert_eq!(steps > 1, set.encoding() == Encoding::Hashtable, "{steps}");
    }
}

/// Pearson's test: whether counts that should be equal are, at a level of about one in a million.
fn fair(counts: &HashMap<Vec<u8>, u32>, kinds: usize) -> bool {
    let total: u32 = counts.values().sum();
    let expected = f64::from(total) / kinds as f64;
    let missing = (kinds - counts.len()) as f64 * expected;
    let chi: f64 = counts.values().map(|&n| (f64::from(n) - expected).powi(2) / expected).sum();
    let freedom = kinds as f64 - 1.0;
    // Wilson and Hilferty's approximation, 4.75 standard deviations.
    let limit =
        freedom * (1.0 - 2.0 / (9.0 * freedom) + 4.75 * (2.0 / (9.0 * freedom)).sqrt()).powi(3);
    chi + missing < limit
}

#[test]
fn every_member_is_as_likely_as_the_others() {
    let random = &mut fastrand::Rng::with_seed(11);
    for set in of_all_forms() {
        let (mut one, mut drawn) = (HashMap::new(), HashMap::new());
        let (mut few, mut many) = (HashMap::new(), HashMap::new());
        for _ in 0..if cfg!(miri) { 50 } else { 6000 } {
            *one.entry(set.random(random).unwrap().to_vec()).or_default() += 1;
            set.draw(3, random, &mut |member| *drawn.entry(member.to_vec()).or_default() += 1);
            for (count, counts) in [(2, &mut few), (9, &mut many)] {
                let sample = set.sample(count, random);
                assert_eq!(sample.iter().map(|m| m.to_vec()).collect::<BTreeSet<_>>().len(), count);
                sample.iter().for_each(|member| *counts.entry(member.to_vec()).or_default() += 1);
            }
        }
        for counts in [one, drawn, few, many] {
            assert!(fair(&counts, 12), "{counts:?}");
        }
    }
}

#[test]
fn a_big_table_is_sampled_evenly() {
    let count = if cfg!(miri) { 40 } else { 1000 };
    let set = numbers(0..count);
    let random = &mut fastrand::Rng::with_seed(5);
    let mut counts = HashMap::new();
    set.draw(50 * count, random, &mut |m| *counts.entry(m.to_vec()).or_default() += 1);
    assert!(fair(&counts, count));
    let mut unfair = counts.clone();
    for n in 0..count / 4 {
        *unfair.get_mut(n.to_string().as_bytes()).unwrap() += 25;
    }
    assert!(cfg!(miri) || !fair(&unfair, count), "the test sees what is unfair");
}

/// Which members go, and how many: pairs, so that it would show if they went together.
#[test]
fn what_is_popped_is_any_choice() {
    let random = &mut fastrand::Rng::with_seed(13);
    for (form, set) in of_all_forms().iter().enumerate() {
        for count in [1, 2, 10, 11] {
            let mut counts = HashMap::new();
            for _ in 0..if cfg!(miri) { 5 } else { 4000 } {
                let (mut set, all) = (set.duplicate(), texts(set));
                let mut gone = BTreeSet::new();
                match count {
                    1 => assert!(gone.insert(set.pop(random).unwrap())),
                    _ => set.pop_many(count, &limits(), random, &mut |m| {
                        assert!(gone.insert(m.to_vec()));
                    }),
                }
                assert_eq!((gone.len(), set.len()), (count, 12 - count));
                assert_eq!(gone.union(&texts(&set)).cloned().collect::<BTreeSet<_>>(), all);
                let choice = if count > 6 { texts(&set) } else { gone };
                let choice: Vec<_> = choice.into_iter().collect();
                *counts.entry(choice.concat()).or_default() += 1;
                // A few members that are left of a table are packed, if they are short.
                assert_eq!(set.encoding(), FORMS[form]);
            }
            let kinds = if [1, 11].contains(&count) { 12 } else { 66 };
            assert!(cfg!(miri) || fair(&counts, kinds), "{count} of {:?}: {counts:?}", FORMS[form]);
        }
    }
    let mut table = numbers(0..200);
    let mut gone = 0;
    table.pop_many(190, &limits(), random, &mut |_| gone += 1);
    assert_eq!((gone, table.len(), table.encoding()), (190, 10, Encoding::Listpack));
}

/// What the memory of big sets comes to, the table's share included.
#[test]
#[cfg(not(miri))]
fn a_member_of_a_big_set_takes_little_more_than_its_bytes() {
    let per_member = |text: &dyn Fn(usize) -> String| {
        let set = set((0..100_000).map(text));
        set.allocated() as f64 / 100_000.0
    };
    let short = per_member(&|n| n.to_string());
    let long = per_member(&|n| format!("member:{n:013}"));
    assert!(short < 16.0, "{short} bytes for each of 100,000 integers");
    assert!(long < 38.0, "{long} bytes for each of 100,000 strings of 20 bytes");
}
