use proptest::prelude::*;

use super::*;
use crate::data::hash;

fn text(entry: &Entry) -> Vec<u8> {
    match entry.value() {
        ValueRef::Int(int) => Decimal::new(int).to_vec(),
        ValueRef::Bytes(bytes) => bytes.to_vec(),
        ValueRef::Object(_) => unreachable!("only strings are made here"),
    }
}

#[test]
fn sizes() {
    let key = b"key:000000000001";
    assert_eq!(Entry::string(key, &[b'x'; 64], None).allocated(), 96);
    assert_eq!(Entry::string(key, &[b'x'; 64], Some(1)).allocated(), 96);
    assert_eq!(Entry::string(key, b"12345", None).allocated(), 32);
    assert_eq!(Entry::string(key, b"", None).allocated(), 32);
    assert_eq!(Entry::string(key, &[b'x'; 4096], None).allocated(), 48 + 4096);
}

#[test]
fn an_object_is_taken_out_of_its_entry() {
    for expire_at in [None, Some(5)] {
        let set = Box::new(Object::Set(crate::data::set::Set::packed()));
        let mut entry = Entry::object(b"key", set, expire_at);
        entry.set_access(7);
        assert_eq!(entry.take_object().map(|object| object.kind()), Some(Type::Set));
        assert!(entry.take_object().is_none());
        assert_eq!((entry.key(), entry.expire_at(), entry.access()), (&b"key"[..], expire_at, 7));
        assert_eq!(text(&entry), b"0");
        entry.assign(b"value", expire_at);
        assert_eq!(text(&entry), b"value");
    }
}

#[test]
fn encodings_are_those_of_redis() {
    let encoding = |value: &[u8]| Entry::string(b"k", value, None).encoding().name();
    assert_eq!(encoding(b"123"), "int");
    assert_eq!(encoding(b"-9223372036854775808"), "int");
    assert_eq!(encoding(b"9223372036854775808"), "embstr");
    assert_eq!(encoding(b"007"), "embstr");
    assert_eq!(encoding(b""), "embstr");
    assert_eq!(encoding(&[b'a'; 44]), "embstr");
    assert_eq!(encoding(&[b'a'; 45]), "raw");
    assert_eq!(encoding(&[b'a'; 5000]), "raw");
    assert_eq!(Entry::bytes(b"k", b"3", None).encoding().name(), "embstr");
    assert_eq!(Entry::int(b"k", 3, None).encoding().name(), "int");

    let mut entry = Entry::string(b"k", b"12", None);
    entry.append(b"3");
    assert_eq!((text(&entry), entry.encoding().name()), (b"123".to_vec(), "raw"));
    entry.set_string(b"123");
    assert_eq!(entry.encoding().name(), "int");
    entry.set_bytes(b"12.5");
    assert_eq!(entry.encoding().name(), "embstr");
    entry.make_mut_slice()[0] = b'9';
    assert_eq!((text(&entry), entry.encoding().name()), (b"92.5".to_vec(), "raw"));
    assert_eq!(entry.copy_with_key(b"other").encoding().name(), "raw");
    entry.set_string(b"fresh");
    assert_eq!(entry.encoding().name(), "embstr");
    assert_eq!(entry.kind().name(), "string");
}

#[test]
fn long_keys_work() {
    for len in [0, 1, 254, 255, 256, 65_535, 65_536, 300_000] {
        let key: Vec<u8> = (0..len).map(|at| at as u8).collect();
        let mut entry = Entry::string(&key, b"value", Some(7));
        assert_eq!(entry.key(), key);
        entry.set_expire(None);
        entry.append(&[b'x'; 1000]);
        assert_eq!(entry.key(), key);
        assert_eq!(entry.string_len(), 1005);
        entry.set_int(5);
        entry.set_expire(Some(9));
        assert_eq!((entry.key(), text(&entry)), (&key[..], b"5".to_vec()));
        let entry = entry.with_key(b"short");
        assert_eq!((entry.key(), entry.expire_at()), (&b"short"[..], Some(9)));
    }
}

#[test]
fn overwrites_in_place_when_it_fits() {
    let mut entry = Entry::string(b"key", &[b'a'; 64], None);
    let block = entry.ptr;
    entry.set_string(&[b'b'; 60]);
    assert_eq!((entry.ptr, text(&entry)), (block, vec![b'b'; 60]));
    entry.set_expire(Some(1));
    entry.set_expire(None);
    assert_eq!(entry.ptr, block);
    entry.set_string(b"small");
    assert_eq!(entry.allocated(), 16);
    let mut entry = Entry::string(b"key", &[b'a'; 4096], None);
    let before = entry.allocated();
    entry.set_string(&[b'b'; 4000]);
    assert_eq!((entry.allocated(), text(&entry)), (before, vec![b'b'; 4000]));
    entry.set_string(&[b'c'; 1000]);
    assert_eq!(entry.allocated(), 48 + 1024);
    entry.set_string(&[b'c'; 10]);
    assert_eq!(entry.allocated(), 32);
}

#[test]
fn growing_is_amortised() {
    let mut entry = Entry::string(b"log", b"", None);
    let (mut moves, mut last) = (0, 0);
    let rounds = if cfg!(miri) { 3000 } else { 300_000 };
    for round in 0..rounds {
        entry.append(b"x");
        if entry.allocated() != last {
            (moves, last) = (moves + 1, entry.allocated());
        }
        assert_eq!(entry.string_len(), round + 1);
    }
    assert!(moves < 40, "{moves}");
    assert!(text(&entry).iter().all(|&byte| byte == b'x'));
    // Big strings do not reserve as much again.
    if !cfg!(miri) {
        entry.grow(10 << 20);
        assert!(entry.allocated() < (13 << 20), "{}", entry.allocated());
        assert!(text(&entry)[rounds..].iter().all(|&byte| byte == 0));
    }
}

#[test]
fn renaming_moves_a_big_value() {
    let mut entry = Entry::string(b"old", &[b'v'; 100_000], Some(5));
    entry.set_access(0xabcdef);
    entry.set_snapshot_bit(true);
    let ValueRef::Bytes(bytes) = entry.value() else { panic!("a string") };
    let address = bytes.as_ptr();
    let entry = entry.with_key(b"quite a different key");
    let ValueRef::Bytes(bytes) = entry.value() else { panic!("a string") };
    assert_eq!(bytes.as_ptr(), address);
    assert_eq!((entry.access(), entry.expire_at()), (0xabcdef, Some(5)));
    assert!(!entry.snapshot_bit());
    let copy = entry.clone();
    assert_eq!((copy.key(), text(&copy)), (entry.key(), text(&entry)));
}

#[test]
fn access_keeps_24_bits() {
    let mut entry = Entry::int(b"k", 1, None);
    assert_eq!(entry.access(), 0);
    entry.set_access(0xff12_3456);
    assert_eq!(entry.access(), 0x12_3456);
    entry.set_snapshot_bit(true);
    entry.set_string(b"replaced by something longer than it was");
    assert_eq!((entry.access(), entry.snapshot_bit()), (0x12_3456, true));
}

#[derive(Clone, Debug)]
enum Action {
    SetString(Vec<u8>),
    Assign(Vec<u8>, Option<i64>),
    SetBytes(Vec<u8>),
    SetInt(i64),
    SetExpire(Option<i64>),
    Append(Vec<u8>),
    Grow(usize),
    Touch,
    Truncate(usize),
    Rename(Vec<u8>),
    Copy,
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..60),
        prop::collection::vec(any::<u8>(), 400..1200),
        any::<i64>().prop_map(|int| int.to_string().into_bytes()),
    ]
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        prop::collection::vec(any::<u8>(), 250..260),
    ]
}

fn action() -> impl Strategy<Value = Action> {
    let expiry = || prop::option::of(any::<i64>());
    prop_oneof![
        value().prop_map(Action::SetString),
        (value(), expiry()).prop_map(|(value, expiry)| Action::Assign(value, expiry)),
        value().prop_map(Action::SetBytes),
        any::<i64>().prop_map(Action::SetInt),
        expiry().prop_map(Action::SetExpire),
        value().prop_map(Action::Append),
        (0usize..1500).prop_map(Action::Grow),
        Just(Action::Touch),
        (0usize..1500).prop_map(Action::Truncate),
        key().prop_map(Action::Rename),
        Just(Action::Copy),
    ]
}

/// What an entry is to its user.
struct Model {
    key: Vec<u8>,
    value: Vec<u8>,
    int: bool,
    modified: bool,
    expire_at: Option<i64>,
}

impl Model {
    fn assign(&mut self, value: Vec<u8>, int: bool) {
        (self.value, self.int, self.modified) = (value, int, false);
    }

    fn assign_string(&mut self, value: Vec<u8>) {
        let int = parse_i64(&value).is_some();
        self.assign(value, int);
    }

    fn change(&mut self, change: impl FnOnce(&mut Vec<u8>)) {
        change(&mut self.value);
        (self.int, self.modified) = (false, true);
    }

    fn encoding(&self) -> Encoding {
        match () {
            () if self.int => Encoding::Int,
            () if self.modified || self.value.len() > 44 => Encoding::Raw,
            () => Encoding::Embstr,
        }
    }
}

fn apply(entry: Entry, model: &mut Model, action: Action) -> Entry {
    let mut entry = entry;
    match action {
        Action::SetString(value) => {
            entry.set_string(&value);
            model.assign_string(value);
        }
        Action::Assign(value, expire_at) => {
            entry.assign(&value, expire_at);
            model.assign_string(value);
            model.expire_at = expire_at;
        }
        Action::SetBytes(value) => {
            entry.set_bytes(&value);
            model.assign(value, false);
        }
        Action::SetInt(int) => {
            entry.set_int(int);
            model.assign(int.to_string().into_bytes(), true);
        }
        Action::SetExpire(expire_at) => {
            entry.set_expire(expire_at);
            model.expire_at = expire_at;
        }
        Action::Append(more) => {
            let len = entry.append(&more);
            model.change(|value| value.extend(more));
            assert_eq!(len, model.value.len());
        }
        Action::Grow(len) => {
            let grown = entry.grow(len);
            model.change(|value| value.resize(len.max(value.len()), 0));
            assert_eq!(grown, model.value);
        }
        Action::Touch => {
            entry.make_mut_slice().reverse();
            model.change(|value| value.reverse());
        }
        Action::Truncate(len) => {
            entry.bytes_mut().truncate(len);
            model.change(|value| value.truncate(len));
        }
        Action::Rename(key) => {
            entry = entry.with_key(&key);
            model.key = key;
        }
        Action::Copy => entry = entry.clone(),
    }
    entry
}

#[test]
fn an_entry_goes_with_the_last_of_its_parts() {
    let limits = hash::Limits { fields: 10, string: 10 };
    let mut fields = hash::Hash::new();
    let set = |fields: &mut hash::Hash, name: &[u8], lifetime| {
        fields.set(name, hash::FieldValue::Int(1), lifetime, limits, 0);
    };
    set(&mut fields, b"a", hash::Lifetime::Until(5));
    set(&mut fields, b"b", hash::Lifetime::Until(9));
    let mut entry = Entry::object(b"key", Box::new(Object::Hash(fields)), None);
    assert!(entry.marked() && entry.marked_in_part() && entry.expire_at().is_none());
    assert!(!entry.has_expired_parts(5) && entry.has_expired_parts(6));
    assert!(!entry.is_expired(9) && entry.is_expired(10));
    let renamed = entry.copy_with_key(b"copy").with_key(b"renamed");
    assert!(renamed.marked_in_part() && renamed.is_expired(10));
    entry.set_expire(Some(7));
    assert!(entry.marked() && !entry.marked_in_part());
    assert!(!entry.is_expired(7) && entry.is_expired(8));
    entry.set_expire(None);
    assert!(entry.marked_in_part());
    let Some(Object::Hash(fields)) = entry.object_mut() else { panic!("a hash") };
    set(fields, b"c", hash::Lifetime::Endless);
    assert!(!entry.is_expired(10));
    assert_eq!(entry.object_mut().unwrap().purge_parts(10, 10, &mut |_| ()), 2);
    assert!(entry.marked());
    entry.note_parts();
    assert!(!entry.marked() && !entry.has_expired_parts(10));
    let Some(Object::Hash(fields)) = entry.object_mut() else { panic!("a hash") };
    set(fields, b"c", hash::Lifetime::Until(1));
    entry.note_parts();
    entry.assign(b"string", None);
    assert!(!entry.marked());
}

#[test]
fn an_object_leaves_a_whole_entry_behind() {
    for expire_at in [None, Some(7)] {
        let limits = hash::Limits { fields: 10, string: 10 };
        let mut fields = hash::Hash::new();
        let lifetime = hash::Lifetime::Until(5);
        fields.set(b"a", hash::FieldValue::Int(1), lifetime, limits, 0);
        let object = Box::new(Object::Hash(fields));
        let mut entry = Entry::object(&[b'k'; 300], object, expire_at);
        let mut taken = entry.take_object().unwrap();
        assert_eq!(taken.purge_parts(6, 10, &mut |_| ()), 1);
        assert_eq!((text(&entry), entry.key()), (b"0".to_vec(), &[b'k'; 300][..]));
        assert_eq!((entry.expire_at(), entry.marked()), (expire_at, expire_at.is_some()));
        assert!(entry.take_object().is_none());
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 6 } else { 400 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_sequence_of_changes_keeps_everything_else(
        key in key(),
        value in value(),
        expire_at in prop::option::of(any::<i64>()),
        actions in prop::collection::vec(action(), 0..40),
    ) {
        let mut entry = Entry::string(&key, &value, expire_at);
        let int = parse_i64(&value).is_some();
        let mut model = Model { key, value, int, modified: false, expire_at };
        entry.set_access(0x123456);
        for action in actions {
            entry = apply(entry, &mut model, action);
            prop_assert_eq!(entry.key(), &model.key[..]);
            prop_assert_eq!(&text(&entry), &model.value);
            prop_assert_eq!(entry.string_len(), model.value.len());
            prop_assert_eq!(entry.expire_at(), model.expire_at);
            prop_assert_eq!(Keyed::marked(&entry), model.expire_at.is_some());
            prop_assert_eq!(entry.encoding(), model.encoding());
            prop_assert_eq!(entry.access(), 0x123456);
        }
    }
}
