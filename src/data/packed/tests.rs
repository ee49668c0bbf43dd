use super::*;
use proptest::prelude::*;

fn block(texts: &[&str]) -> Packed {
    texts.iter().map(|text| Element::new(text.as_bytes())).collect()
}

fn texts(block: &Packed) -> Vec<Vec<u8>> {
    block.iter().map(Element::to_vec).collect()
}

/// Everything that must hold of a block, whatever was done to it.
fn check(block: &Packed) {
    let forward = texts(block);
    let mut backward: Vec<_> = block.iter().rev().map(Element::to_vec).collect();
    backward.reverse();
    assert_eq!(forward, backward);
    assert_eq!(forward.len(), block.len());
    let sizes = block.iter().map(Element::listpack_len).sum::<usize>();
    assert_eq!(block.listpack_len(), LISTPACK_EMPTY + sizes);
    let costs = block.iter().map(Packed::cost_of).sum::<usize>();
    assert_eq!(block.byte_len(), if block.is_empty() { 0 } else { costs + 1 });
    assert_eq!(block.bytes.len(), allocation_size(block.bytes.len()));
    for (index, text) in forward.iter().enumerate() {
        let place = block.seek(index).unwrap();
        assert_eq!(block.get(place).to_vec(), *text);
    }
    assert_eq!(block.seek(block.len()), None);
}

#[test]
fn content_is_laid_out_as_drawn() {
    let block = block(&["ab", "5", "-300"]);
    let int = (-300i16).to_le_bytes();
    let expected = [2, b'a', b'b', 2 ^ 133, 133 ^ 241, int[0], int[1], 241];
    assert_eq!(block.content(), expected);
    assert_eq!(block.listpack_len(), 7 + 4 + 2 + 3);
}

#[test]
fn an_empty_block_has_no_memory() {
    let mut empty = Packed::new();
    assert_eq!((empty.len(), empty.byte_len(), empty.allocated()), (0, 0, 0));
    assert_eq!((empty.first(), empty.last(), empty.seek(0)), (None, None, None));
    empty.pop_front();
    empty.pop_back();
    empty.remove_range(0, 5);
    empty.append(&Packed::new());
    assert_eq!(empty.iter().next(), None);
    assert_eq!(empty.split_off(0).len(), 0);
    let mut one = block(&["x"]);
    one.pop_back();
    assert_eq!((one.is_empty(), one.allocated()), (true, 0));
    // An empty string is an element like any other.
    let empties = block(&["", "", ""]);
    check(&empties);
    assert_eq!(empties.content(), [0, 0, 0, 0]);
}

#[test]
fn both_ends_work_without_moving_the_rest() {
    let mut queue = block(&["first"]);
    for n in 0..10_000 {
        queue.push_front(Element::Int(n));
        queue.pop_back();
        assert_eq!(queue.len(), 1);
        assert!(queue.allocated() <= 16, "a queue of one does not grow");
    }
    let mut block = Packed::new();
    for n in 0..1000 {
        block.push_front(Element::Int(n));
    }
    check(&block);
    let peak = block.allocated();
    for _ in 0..990 {
        block.pop_front();
    }
    assert!(block.allocated() < peak / 20);
    assert_eq!(texts(&block)[0], b"9");
}

#[test]
fn find_looks_at_every_step_th() {
    let block = block(&["f", "g", "g", "7", "h", ""]);
    let find = |text: &str, step| {
        let place = block.find(Element::new(text.as_bytes()), block.first(), step)?;
        Some(block.places().position(|other| other == place).unwrap())
    };
    assert_eq!((find("g", 1), find("g", 2)), (Some(1), Some(2)));
    assert_eq!((find("7", 1), find("7", 2), find("", 1)), (Some(3), None, Some(5)));
    assert_eq!((find("07", 1), find("x", 1), find("h", 2)), (None, None, Some(4)));
    assert_eq!(block.count_of(Element::Bytes(b"g")), 2);
}

#[test]
fn the_nth_equal_elements_go() {
    let mut block = block(&["a", "b", "a", "a", "c", "a"]);
    block.remove_equal(Element::Bytes(b"a"), 1..3);
    assert_eq!(texts(&block), [b"a", b"b", b"c", b"a"]);
    check(&block);
}

#[derive(Debug, Clone)]
enum Step {
    Push(bool, Vec<u8>),
    Pop(bool),
    Insert(usize, bool, Vec<u8>),
    Replace(usize, Vec<u8>),
    Remove(usize),
    RemoveRange(usize, usize),
    RemoveEqual(Vec<u8>),
    Split(usize),
    Append(Vec<Vec<u8>>),
    ShrinkToFit,
}

fn text() -> BoxedStrategy<Vec<u8>> {
    prop_oneof![
        4 => any::<i64>().prop_flat_map(|n| (0u32..64).prop_map(move |s| (n >> s).to_string().into_bytes())),
        4 => proptest::collection::vec(any::<u8>(), 0..20),
        2 => proptest::sample::select(vec!["", "a", "b", "1", "-1", "100", "01"])
            .prop_map(|s| s.as_bytes().to_vec()),
        1 => proptest::sample::select(vec![126usize, 127, 128, 129, 383, 384, 500])
            .prop_map(|n| vec![b'x'; n]),
        1 => Just(vec![b'y'; 66_000]),
    ]
    .boxed()
}

fn step() -> BoxedStrategy<Step> {
    let at = || any::<usize>();
    prop_oneof![
        8 => (any::<bool>(), text()).prop_map(|(front, text)| Step::Push(front, text)),
        4 => any::<bool>().prop_map(Step::Pop),
        4 => (at(), any::<bool>(), text()).prop_map(|(i, before, t)| Step::Insert(i, before, t)),
        3 => (at(), text()).prop_map(|(i, t)| Step::Replace(i, t)),
        3 => at().prop_map(Step::Remove),
        1 => (at(), 0usize..5).prop_map(|(i, n)| Step::RemoveRange(i, n)),
        1 => text().prop_map(Step::RemoveEqual),
        1 => at().prop_map(Step::Split),
        1 => proptest::collection::vec(text(), 0..4).prop_map(Step::Append),
        1 => Just(Step::ShrinkToFit),
    ]
    .boxed()
}

fn apply(block: &mut Packed, model: &mut Vec<Vec<u8>>, step: Step) {
    let len = model.len();
    match step {
        Step::Push(true, text) => {
            block.push_front(Element::new(&text));
            model.insert(0, text);
        }
        Step::Push(false, text) => {
            block.push_back(Element::new(&text));
            model.push(text);
        }
        Step::Pop(true) if len > 0 => {
            block.pop_front();
            model.remove(0);
        }
        Step::Pop(false) => {
            block.pop_back();
            model.pop();
        }
        Step::Append(texts) => {
            block.append(&texts.iter().map(|text| Element::new(text)).collect());
            model.extend(texts);
        }
        Step::RemoveEqual(text) => {
            let present = model.iter().filter(|other| **other == text).count();
            assert_eq!(block.count_of(Element::new(&text)), present);
            block.remove_equal(Element::new(&text), 0..usize::MAX);
            model.retain(|other| *other != text);
        }
        Step::ShrinkToFit => {
            block.shrink_to_fit();
            assert_eq!(block.allocated(), allocation_size(block.byte_len()));
        }
        _ if len == 0 => {}
        Step::Insert(at, before, text) => {
            let place = block.seek(at % len).unwrap();
            match before {
                true => block.insert_before(place, Element::new(&text)),
                false => block.insert_after(place, Element::new(&text)),
            }
            model.insert(at % len + usize::from(!before), text);
        }
        Step::Replace(at, text) => {
            let place = block.replace(block.seek(at % len).unwrap(), Element::new(&text));
            assert_eq!(block.get(place).to_vec(), text);
            model[at % len] = text;
        }
        Step::Remove(at) => {
            let next = block.remove(block.seek(at % len).unwrap());
            model.remove(at % len);
            assert_eq!(next.map(|next| block.get(next).to_vec()).as_ref(), model.get(at % len));
        }
        Step::RemoveRange(at, count) => {
            block.remove_range(at % len, count);
            model.drain(at % len..(at % len + count).min(len));
        }
        Step::Split(at) => {
            let tail = block.split_off(at % len);
            check(&tail);
            assert_eq!(texts(&tail), model.split_off(at % len));
        }
        Step::Pop(true) => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 4 } else { 500 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_block_is_a_vector_of_texts(steps in proptest::collection::vec(step(), 1..80)) {
        let (mut block, mut model) = (Packed::new(), Vec::new());
        for step in steps {
            apply(&mut block, &mut model, step);
            check(&block);
            prop_assert_eq!(&texts(&block), &model);
            prop_assert!(block.allocated() <= KEPT_CAPACITY.max(block.byte_len() * 2 + 16));
            let from = model.len() / 3;
            let some: Vec<_> = block.iter_from(from).map(Element::to_vec).collect();
            prop_assert_eq!(&some, &model[from..]);
            let mut some: Vec<_> = block.iter_to(from).rev().map(Element::to_vec).collect();
            some.reverse();
            prop_assert_eq!(&some, &model[..from]);
        }
    }
}
