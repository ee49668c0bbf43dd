use super::*;
use proptest::prelude::*;
use std::collections::VecDeque;

fn list_of(texts: &[&str], limit: Limit) -> List {
    let mut list = List::new();
    texts.iter().for_each(|text| push(&mut list, End::Back, text.as_bytes(), limit));
    list
}

fn push(list: &mut List, end: End, text: &[u8], limit: Limit) {
    list.prepare(text.len(), 1, limit);
    list.push(end, Element::new(text), limit);
}

fn texts(list: &List) -> Vec<Vec<u8>> {
    list.iter().map(Element::to_vec).collect()
}

#[test]
fn the_option_means_elements_or_bytes() {
    let bytes = |option| Limit::new(option).listpack;
    assert_eq!([-1, -2, -3, -4, -5, -6].map(bytes), [4, 8, 16, 32, 64, 64].map(|k| Some(k * 1024)));
    assert_eq!([0, 1, 7].map(|option| Limit::new(option).count), [1, 1, 7]);
    assert_eq!(bytes(7), None);
}

/// What Redis' own tests expect of `list-max-listpack-size`.
#[test]
fn the_form_changes_when_redis_changes_it() {
    let three = Limit::new(3);
    let mut list = list_of(&["a", "b", "c"], three);
    assert_eq!(list.encoding(), Encoding::Listpack);
    push(&mut list, End::Back, b"d", three);
    assert_eq!(list.encoding(), Encoding::Quicklist);
    list.drop_end(End::Back, three);
    list.drop_end(End::Back, three);
    assert_eq!(list.encoding(), Encoding::Quicklist);
    list.drop_end(End::Back, three);
    assert_eq!((list.encoding(), list.len()), (Encoding::Listpack, 1));

    let kilobytes = Limit::new(-1);
    let large = "x".repeat(4096);
    let mut list = list_of(&[&large, "a", "b"], kilobytes);
    list.remove_range(1, 2, kilobytes);
    assert_eq!(list.encoding(), Encoding::Quicklist);
    assert!(list.set(0, Element::Bytes(b"c"), kilobytes));
    assert_eq!(list.encoding(), Encoding::Listpack);

    // 7 bytes for itself, 2 more than their text for each of two elements.
    let fits = "x".repeat(2041);
    let mut list = list_of(&[&fits], kilobytes);
    list.prepare(2040, 1, kilobytes);
    assert_eq!(list.encoding(), Encoding::Listpack);
    list.prepare(2050, 1, kilobytes);
    assert_eq!(list.encoding(), Encoding::Quicklist);
}

#[test]
fn a_list_can_be_made_at_once() {
    let limit = Limit::new(4);
    let make = |n: i64| List::of((0..n).map(Element::Int), limit);
    assert_eq!((make(0).encoding(), make(0).len()), (Encoding::Listpack, 0));
    assert_eq!((make(4).encoding(), make(4).len()), (Encoding::Listpack, 4));
    assert_eq!((make(5).encoding(), make(5).len()), (Encoding::Quicklist, 5));
}

#[test]
fn a_million_elements_are_found_by_index() {
    let limit = Limit::new(-2);
    let mut list = List::of((0..1_000_000).map(Element::Int), limit);
    for index in [0, 1, 499_999, 500_000, 999_998, 999_999] {
        assert_eq!(list.get(index), Some(Element::Int(index as i64)));
        assert_eq!(list.iter_from(index).next(), Some(Element::Int(index as i64)));
        assert_eq!(list.iter_back_from(index + 1).next(), Some(Element::Int(index as i64)));
    }
    assert_eq!(list.get(1_000_000), None);
    let full = list.allocated();
    assert!(full / 1_000_000 <= 4, "{full} bytes for small integers");
    list.remove_range(10, 999_980, limit);
    assert_eq!(list.len(), 20);
    assert!(list.allocated() < 3000, "{} bytes for 20", list.allocated());
    assert_eq!(list.get(10), Some(Element::Int(999_990)));
}

#[test]
fn an_element_too_large_for_a_block_stands_alone() {
    let limit = Limit::new(-1);
    let huge = "x".repeat(70_000);
    let mut list = list_of(&["a", "b", "c", "d", "e", &huge, "f"], limit);
    assert!(list.set(2, Element::new(huge.as_bytes()), limit));
    list.insert(1, true, Element::new(huge.as_bytes()), limit);
    let lens: Vec<_> = list.blocks().map(Packed::len).collect();
    assert_eq!(lens, [2, 1, 1, 2, 1, 1]);
    let firsts: Vec<u8> = texts(&list).iter().map(|text| text[0]).collect();
    assert_eq!(firsts, b"abxxdexf");
}

#[derive(Debug, Clone)]
enum Step {
    Push(End, Vec<u8>),
    PushMany(End, usize),
    Pop(End),
    Set(usize, Vec<u8>),
    Insert(usize, bool, Vec<u8>),
    RemoveRange(usize, usize),
    RemoveEqual(Vec<u8>, End, usize),
}

fn text() -> BoxedStrategy<Vec<u8>> {
    prop_oneof![
        6 => proptest::sample::select(vec!["", "a", "b", "1", "-1", "100", "01"])
            .prop_map(|s| s.as_bytes().to_vec()),
        4 => proptest::collection::vec(any::<u8>(), 0..20),
        1 => proptest::sample::select(vec![128usize, 1000, 4096, 8192, 70_000])
            .prop_map(|n| vec![b'x'; n]),
    ]
    .boxed()
}

fn step() -> BoxedStrategy<Step> {
    let at = || any::<usize>();
    let end = || proptest::sample::select(vec![End::Front, End::Back]);
    prop_oneof![
        8 => (end(), text()).prop_map(|(end, text)| Step::Push(end, text)),
        1 => (end(), 0usize..3000).prop_map(|(end, count)| Step::PushMany(end, count)),
        4 => end().prop_map(Step::Pop),
        3 => (at(), text()).prop_map(|(i, text)| Step::Set(i, text)),
        4 => (at(), any::<bool>(), text()).prop_map(|(i, b, text)| Step::Insert(i, b, text)),
        1 => (at(), 0usize..5000).prop_map(|(i, n)| Step::RemoveRange(i, n)),
        1 => (text(), end(), 0usize..4).prop_map(|(t, end, n)| Step::RemoveEqual(t, end, n)),
    ]
    .boxed()
}

fn apply(list: &mut List, model: &mut VecDeque<Vec<u8>>, step: Step, limit: Limit) {
    let len = model.len();
    let mut push_both = |list: &mut List, end, text: Vec<u8>| {
        push(list, end, &text, limit);
        match end {
            End::Front => model.push_front(text),
            End::Back => model.push_back(text),
        }
    };
    match step {
        Step::Push(end, text) => push_both(list, end, text),
        Step::PushMany(end, count) => {
            (0..count).for_each(|n| push_both(list, end, n.to_string().into_bytes()));
        }
        Step::Pop(end) => {
            let expected = if end == End::Front { model.pop_front() } else { model.pop_back() };
            assert_eq!(list.peek(end).map(Element::to_vec), expected);
            list.drop_end(end, limit);
        }
        Step::Set(at, text) => {
            list.prepare(text.len(), 1, limit);
            let at = at % (len + 1);
            assert_eq!(list.set(at, Element::new(&text), limit), at < len);
            if at < len {
                model[at] = text;
            }
        }
        Step::Insert(at, behind, text) if len > 0 => {
            list.prepare(text.len(), 1, limit);
            list.insert(at % len, behind, Element::new(&text), limit);
            model.insert(at % len + usize::from(behind), text);
        }
        Step::RemoveRange(at, count) => {
            let at = at % (len + 1);
            list.remove_range(at, count, limit);
            model.drain(at..(at + count).min(len));
        }
        Step::RemoveEqual(text, end, max) => {
            let mut at: Vec<usize> = (0..len).filter(|&at| model[at] == text).collect();
            if end == End::Back {
                at.reverse();
            }
            at.truncate(max);
            assert_eq!(list.remove_equal(Element::new(&text), end, max, limit), at.len());
            at.sort_unstable();
            at.into_iter().rev().for_each(|at| drop(model.remove(at)));
        }
        Step::Insert(..) => {}
    }
}

/// Whatever was done, the list has the model's elements in blocks that are within their limits.
fn check(list: &List, model: &VecDeque<Vec<u8>>, limit: Limit, probe: usize) {
    assert_eq!(list.len(), model.len());
    assert!(list.iter().zip(model).all(|(a, b)| a == Element::new(b)));
    assert_eq!(list.iter().count(), model.len());
    let probe = probe % (model.len() + 1);
    assert_eq!(list.get(probe), model.get(probe).map(|text| Element::new(text)));
    assert!(list.iter_from(probe).eq(model.iter().skip(probe).map(|text| Element::new(text))));
    let back = list.iter_back_from(probe);
    assert!(back.eq(model.iter().take(probe).rev().map(|text| Element::new(text))));
    if let Some(text) = model.get(probe) {
        let first = model.iter().position(|other| other == text);
        assert_eq!(list.position(Element::new(text)), first);
    }
    if let List::Big(_) = list {
        assert!(list.blocks().all(|block| !block.is_empty()));
        let sized = |block: &Packed| block.len() == 1 || block.byte_len() <= 72 << 10;
        assert!(list.blocks().all(|block| sized(block) && block.len() <= limit.count));
    }
    let single = list.blocks().count() == 1;
    assert_eq!(list.duplicate().encoding(), list.encoding());
    assert!(single || list.encoding() == Encoding::Quicklist || model.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 2 } else { 300 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_list_is_a_deque_of_texts(
        option in proptest::sample::select(vec![-2i32, -1, -5, 1, 2, 3, 10, 128]),
        steps in proptest::collection::vec((step(), any::<usize>()), 1..60),
    ) {
        let limit = Limit::new(option);
        let (mut list, mut model) = (List::new(), VecDeque::new());
        for (step, probe) in steps {
            apply(&mut list, &mut model, step, limit);
            check(&list, &model, limit, probe);
        }
        while !model.is_empty() {
            apply(&mut list, &mut model, Step::Pop(End::Back), limit);
        }
        prop_assert!(list.is_empty());
        prop_assert_eq!(list.allocated(), 0);
    }
}
