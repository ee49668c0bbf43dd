//! Values of old and rare forms, byte by byte, and what is refused.

use super::super::dump;
use super::super::output::Output;
use super::super::skim::{Kept, skim};
use super::super::{VERSION, VERSION_VALKEY};
use super::*;
use crate::data::ValueRef;
use crate::data::value::Encoding;

const NOW: i64 = 1_700_000_000_000;

fn limits() -> Limits {
    Limits {
        hash: hash::Limits { fields: 4, string: 10 },
        list: list::Limit::new(-2),
        set: set::Limits {
            intset_entries: 4,
            listpack_entries: 4,
            listpack_value: 10,
            hasher: ahash::RandomState::with_seeds(1, 2, 3, 4),
        },
        sorted_set: sorted_set::Limits { entries: 4, value: 10 },
    }
}

fn read_as(version: u16, bytes: &[u8]) -> Result<Option<Value>> {
    let read = dump::restore((version, bytes), NOW, 1 << 20, &limits());
    if let (Ok(_), Some((&kind, value))) = (&read, bytes.split_first()) {
        // Who passes over it comes to the same end.
        let (mut made, mut skimmed, mut kept) = (value, value, Vec::new());
        load(&mut Input::new(&mut made, 1 << 20), kind, version, NOW, &limits())?;
        let source = Kept { source: &mut skimmed, bytes: &mut kept };
        assert_eq!(skim(&mut Input::new(source, 1 << 20), kind, version), Ok(()));
        assert_eq!((skimmed, &kept[..]), (made, &value[..value.len() - made.len()]), "type {kind}");
    }
    read
}

/// What the bytes of a type and a value hold, as text, and in which encoding.
fn read(bytes: &[u8]) -> Result<(String, Encoding)> {
    let text = |element: Element| String::from_utf8_lossy(&element.to_vec()).into_owned();
    Ok(match read_as(VERSION, bytes)?.expect("nothing expires") {
        Value::String(bytes) => (String::from_utf8_lossy(&bytes).into_owned(), Encoding::Raw),
        Value::Object(object) => {
            let content = match &*object {
                Object::List(list) => list.iter().map(text).collect::<Vec<_>>().join(" "),
                Object::Set(set) => {
                    let mut all: Vec<String> = set.iter().map(text).collect();
                    all.sort();
                    all.join(" ")
                }
                Object::SortedSet(set) => {
                    let show = |(m, s): (&[u8], f64)| format!("{}:{s}", String::from_utf8_lossy(m));
                    set.iter().map(show).collect::<Vec<_>>().join(" ")
                }
                Object::Hash(hash) => {
                    let mut all = Vec::new();
                    hash.each(NOW, |field, value| {
                        let at = hash.expiry(field, NOW).flatten();
                        let at = at.map_or(String::new(), |at| format!("@{}", at - NOW));
                        let field = String::from_utf8_lossy(field).into_owned();
                        all.push(format!("{field}={value:?}{at}"));
                    });
                    all.sort();
                    all.join(" ")
                }
                Object::Stream(stream) => format!("{stream:?}"),
            };
            (content, object.encoding())
        }
    })
}

fn check(bytes: &[u8], content: &str, encoding: Encoding) {
    assert_eq!(read(bytes), Ok((content.to_string(), encoding)));
    for at in 0..bytes.len() {
        assert!(read(&bytes[..at]).is_err(), "cut at {at}");
    }
}

/// A type with one string behind it.
fn blob(kind: u8, string: &[u8]) -> Vec<u8> {
    let mut out = Output::default();
    out.put_byte(kind);
    out.put_string(string);
    out.bytes
}

fn listpack(elements: &[&str]) -> Vec<u8> {
    let mut listpack = listpack::Listpack::default();
    listpack.clear();
    elements.iter().for_each(|element| listpack.push(Element::new(element.as_bytes())));
    listpack.finish().to_vec()
}

/// A ziplist of short strings.
fn ziplist(elements: &[&str]) -> Vec<u8> {
    let (mut body, mut previous, mut last) = (Vec::new(), 0, 0);
    for element in elements {
        last = body.len();
        body.extend_from_slice(&[previous, element.len() as u8]);
        body.extend_from_slice(element.as_bytes());
        previous = element.len() as u8 + 2;
    }
    let mut bytes = (body.len() as u32 + 11).to_le_bytes().to_vec();
    bytes.extend_from_slice(&(last as u32 + 10).to_le_bytes());
    bytes.extend_from_slice(&(elements.len() as u16).to_le_bytes());
    bytes.extend_from_slice(&body);
    bytes.push(0xff);
    bytes
}

#[test]
fn plain_forms() {
    check(b"\x00\xc1\xd2\x04", "1234", Encoding::Raw);
    check(b"\x01\x03\x01a\xc0\x05\x01a", "a 5 a", Encoding::Listpack);
    check(b"\x02\x02\xc0\x05\xc0\x07", "5 7", Encoding::Intset);
    check(b"\x02\x02\xc0\x05\x01a", "5 a", Encoding::Listpack);
    check(b"\x02\x02\x0bhello world\x01a", "a hello world", Encoding::Hashtable);
    check(b"\x02\x05\x01a\x01b\x01c\x01d\x01e", "a b c d e", Encoding::Hashtable);
    // Scores as text: 1.5, infinity.
    check(b"\x03\x02\x01a\x031.5\x01b\xfe", "a:1.5 b:inf", Encoding::Listpack);
    // Scores in binary, in no order.
    let zset = [
        &b"\x05\x03\x01a"[..],
        &2f64.to_le_bytes(),
        b"\x01b",
        &(-1f64).to_le_bytes(),
        b"\x0bhello world",
        &2f64.to_le_bytes(),
    ];
    check(&zset.concat(), "b:-1 a:2 hello world:2", Encoding::Skiplist);
    check(b"\x04\x02\x01a\xc0\x01\x01b\x01x", "a=Int(1) b=Bytes([120])", Encoding::Listpack);
}

#[test]
fn packed_forms_of_today() {
    let all = listpack(&["a", "1", "b", "2.5"]);
    check(&blob(kind::SET_LISTPACK, &all), "1 2.5 a b", Encoding::Listpack);
    check(&blob(kind::ZSET_LISTPACK, &all), "a:1 b:2.5", Encoding::Listpack);
    let fields = "a=Int(1) b=Bytes([50, 46, 53])";
    check(&blob(kind::HASH_LISTPACK, &all), fields, Encoding::Listpack);
    check(&blob(kind::SET_LISTPACK, &listpack(&["1", "2"])), "1 2", Encoding::Listpack);
    let many = listpack(&["1", "2", "3", "4", "5"]);
    check(&blob(kind::SET_LISTPACK, &many), "1 2 3 4 5", Encoding::Hashtable);
    // A listpack, a plain node, another listpack.
    let mut list = vec![kind::QUICKLIST_2, 3, 2];
    list.extend_from_slice(&blob(0, &listpack(&["x", "7"]))[1..]);
    list.extend_from_slice(b"\x01\x05plain\x02");
    list.extend_from_slice(&blob(0, &listpack(&["y"]))[1..]);
    check(&list, "x 7 plain y", Encoding::Listpack);
}

#[test]
fn packed_forms_of_old() {
    let all = ziplist(&["a", "1", "b", "2"]);
    check(&blob(kind::LIST_ZIPLIST, &all), "a 1 b 2", Encoding::Listpack);
    check(&blob(kind::ZSET_ZIPLIST, &all), "a:1 b:2", Encoding::Listpack);
    check(&blob(kind::HASH_ZIPLIST, &all), "a=Int(1) b=Int(2)", Encoding::Listpack);
    let mut quicklist = vec![kind::QUICKLIST, 3];
    for part in [&["a", "b"][..], &[], &["c"]] {
        quicklist.extend_from_slice(&blob(0, &ziplist(part))[1..]);
    }
    check(&quicklist, "a b c", Encoding::Listpack);
    // Two pairs; the first value has one free byte behind it.
    let zipmap = b"\x02\x01a\x011\x01\x00\x00"; // broken: see below
    assert!(read(&blob(kind::HASH_ZIPMAP, zipmap)).is_err());
    let zipmap = b"\x02\x01a\x01\x011?\x01b\x02\x00xy\xff";
    check(&blob(kind::HASH_ZIPMAP, zipmap), "a=Int(1) b=Bytes([120, 121])", Encoding::Listpack);
    let intset = b"\x02\0\0\0\x03\0\0\0\xff\xff\x05\0\x00\x01";
    check(&blob(kind::SET_INTSET, intset), "-1 256 5", Encoding::Intset);
    let wide = b"\x08\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\x80";
    check(&blob(kind::SET_INTSET, wide), "-9223372036854775808", Encoding::Intset);
}

#[test]
fn fields_that_expire_as_redis_has_them() {
    // The least of the times, then each as what to add to it and 1, or 0.
    let mut table = vec![kind::HASH_METADATA];
    table.extend_from_slice(&(NOW + 5).to_le_bytes());
    table.extend_from_slice(b"\x03\x00\x01a\x01x\x01\x01b\xc0\x02\x0b\x01c\xc0\x03");
    check(&table, "a=Bytes([120]) b=Int(2)@5 c=Int(3)@15", Encoding::Hashtable);
    let (soon, gone) = ((NOW + 9).to_string(), (NOW - 1).to_string());
    let triples = listpack(&["old", "x", &gone, "a", "1", &soon, "b", "2", "0"]);
    let mut packed = vec![kind::HASH_LISTPACK_EX];
    packed.extend_from_slice(&(NOW - 1).to_le_bytes());
    packed.extend_from_slice(&blob(0, &triples)[1..]);
    check(&packed, "a=Int(1)@9 b=Int(2)", Encoding::Hashtable);
    check(&blob(kind::HASH_LISTPACK_EX_RC, &triples), "a=Int(1)@9 b=Int(2)", Encoding::Hashtable);
    let mut table = vec![kind::HASH_METADATA_RC, 2];
    table.extend_from_slice(b"\x00\x01a\x01x\x81");
    table.extend_from_slice(&(NOW + 7).to_be_bytes());
    table.extend_from_slice(b"\x01b\x01y");
    check(&table, "a=Bytes([120]) b=Bytes([121])@7", Encoding::Hashtable);
    let all_gone = blob(kind::HASH_LISTPACK_EX_RC, &listpack(&["a", "1", &gone]));
    assert!(matches!(read_as(VERSION, &all_gone), Ok(None)));
}

#[test]
fn the_version_tells_whose_type_it_is() {
    let mut valkey = vec![kind::HASH_2, 2];
    valkey.extend_from_slice(b"\x01a\x01x");
    valkey.extend_from_slice(&(NOW + 3).to_le_bytes());
    valkey.extend_from_slice(b"\x01b\x01y");
    valkey.extend_from_slice(&(-1i64).to_le_bytes());
    let Ok(Some(Value::Object(object))) = read_as(VERSION_VALKEY, &valkey) else { panic!() };
    let Object::Hash(hash) = *object else { panic!() };
    assert_eq!((hash.expiry(b"a", NOW), hash.expiry(b"b", NOW)), (Some(Some(NOW + 3)), Some(None)));
    assert!(read_as(VERSION, &valkey).is_err(), "to Redis it is something else");
}

fn error(bytes: &[u8]) -> Corrupt {
    read_as(VERSION, bytes).expect_err("it is wrong")
}

#[test]
fn empty_collections_are_told_apart() {
    for kind in [kind::LIST, kind::SET, kind::ZSET, kind::ZSET_2, kind::HASH, kind::QUICKLIST_2] {
        assert_eq!(error(&[kind, 0]), Corrupt::Empty, "type {kind}");
    }
    for kind in [kind::SET_LISTPACK, kind::ZSET_LISTPACK, kind::HASH_LISTPACK] {
        assert_eq!(error(&blob(kind, &listpack(&[]))), Corrupt::Empty, "type {kind}");
    }
    for kind in [kind::LIST_ZIPLIST, kind::ZSET_ZIPLIST, kind::HASH_ZIPLIST] {
        assert_eq!(error(&blob(kind, &ziplist(&[]))), Corrupt::Empty, "type {kind}");
    }
    assert_eq!(error(&blob(kind::HASH_ZIPMAP, b"\x00\xff")), Corrupt::Empty);
    assert_eq!(error(b""), Corrupt::Truncated);
}

#[test]
fn types_that_are_no_values() {
    for kind in [8, 26, 100, 255] {
        assert_eq!(error(&[kind, 1, 1, 1]), Corrupt::UnknownType(kind));
    }
    assert_eq!((error(&[6, 0]), error(&[7, 0])), (Corrupt::Module, Corrupt::Module));
}

#[test]
fn elements_must_differ() {
    let twice = Corrupt::Wrong("an element is there twice");
    assert_eq!(error(b"\x02\x02\x01a\x01a"), twice);
    assert_eq!(error(b"\x02\x02\xc0\x01\xc0\x01"), twice);
    assert_eq!(error(b"\x02\x02\xc0\x01\x011"), twice, "as a number and as text");
    assert_eq!(error(b"\x02\x06\x01a\x01b\x01c\x01d\x01e\x01a"), twice);
    assert_eq!(error(b"\x03\x02\x01a\x011\x01a\x012"), twice);
    let many = b"\x03\x06\x01a\x011\x01b\x011\x01c\x011\x01d\x011\x01e\x011\x01a\x012";
    assert_eq!(error(many), twice);
    assert_eq!(error(b"\x04\x02\x01a\x01x\x01a\x01y"), twice);
    assert_eq!(error(&blob(kind::SET_LISTPACK, &listpack(&["a", "a"]))), twice);
    assert_eq!(error(&blob(kind::HASH_LISTPACK, &listpack(&["a", "1", "a", "2"]))), twice);
    assert_eq!(error(&blob(kind::ZSET_LISTPACK, &listpack(&["a", "1", "a", "2"]))), twice);
    assert_eq!(error(&blob(kind::HASH_ZIPLIST, &ziplist(&["a", "1", "a", "2"]))), twice);
}

#[test]
fn pairs_must_be_whole_and_scores_numbers() {
    for (kind, elements) in [
        (kind::HASH_LISTPACK, &["a"][..]),
        (kind::ZSET_LISTPACK, &["a", "1", "b"]),
        (kind::ZSET_LISTPACK, &["a", "x"]),
        (kind::ZSET_LISTPACK, &["a", "nan"]),
        (kind::HASH_LISTPACK_EX_RC, &["a", "1"]),
        (kind::HASH_LISTPACK_EX_RC, &["a", "1", "-1"]),
    ] {
        assert!(read(&blob(kind, &listpack(elements))).is_err(), "{elements:?}");
    }
    assert!(read(b"\x03\x01\x01a\xfd").is_err());
    assert!(read(&[&b"\x05\x01\x01a"[..], &f64::NAN.to_le_bytes()].concat()).is_err());
}

/// Counts that lie must neither allocate nor take time.
#[test]
fn counts_promise_nothing() {
    let huge = b"\x81\x7f\xff\xff\xff\xff\xff\xff\xff";
    let mut kinds: Vec<u8> = (0..=25).filter(|kind| !matches!(kind, 6..=8)).collect();
    kinds.push(kind::HASH_2);
    for kind in kinds {
        let mut bytes = vec![kind];
        if matches!(kind, kind::HASH_METADATA | kind::HASH_LISTPACK_EX) {
            bytes.extend_from_slice(&NOW.to_le_bytes());
        }
        bytes.extend_from_slice(huge);
        assert!(read_as(VERSION, &bytes).is_err());
        assert!(read_as(VERSION_VALKEY, &bytes).is_err());
    }
}

/// A stream with one node: `1-1 {a 1}`, and `1-2 {a 2}` deleted.
fn stream(kind: u8) -> Vec<u8> {
    let entries = [
        &["1", "1", "1", "a", "0"][..], // one entry, one deleted, one name
        &["2", "0", "0", "1", "4"],     // names of the node, 1-1, value, 4 elements
        &["3", "0", "1", "2", "4"],     // the same, deleted, 1-2
    ];
    let mut out = Output::default();
    out.put_byte(kind);
    out.put_len(1);
    out.put_string(b"\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x01");
    out.put_string(&listpack(&entries.concat()));
    out.put_bytes(&[1, 1, 2]); // one entry, the last id was 1-2
    if kind != kind::STREAM_1 {
        out.put_bytes(&[1, 1, 1, 2, 2]); // the first is 1-1, the last deleted 1-2, two were added
    }
    out.put_bytes(&[1, 1, b'g', 1, 2]); // one group, g, which has read up to 1-2
    if kind != kind::STREAM_1 {
        out.put_bytes(&[2]); // entries
    }
    let id = b"\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x01";
    out.put_bytes(&[1]); // one pending entry: 1-1, when, delivered 3 times
    out.put_bytes(id);
    out.put_i64(NOW);
    out.put_bytes(&[3]);
    out.put_bytes(&[1, 1, b'c']); // one consumer, c, seen when, active when
    out.put_i64(NOW + 1);
    if kind == kind::STREAM_3 {
        out.put_i64(-1);
    }
    out.put_bytes(&[1]); // one pending entry
    out.put_bytes(id);
    out.bytes
}

#[test]
fn streams_of_all_versions() {
    use crate::data::stream::Id;
    for (kind, added, active) in [(15, 1, Some(NOW + 1)), (19, 2, Some(NOW + 1)), (21, 2, None)] {
        let Ok(Some(Value::Object(object))) = read_as(VERSION, &stream(kind)) else { panic!() };
        let Object::Stream(stream) = *object else { panic!() };
        let log = &stream.log;
        assert_eq!((log.len(), log.nodes(), log.added), (1, 1, added));
        assert_eq!((log.first_id(), log.last_id), (Id::new(1, 1), Id::new(1, 2)));
        let group = stream.group(b"g").unwrap();
        assert_eq!((group.last_id, group.entries_read), (Id::new(1, 2), Some(added as i64)));
        let consumer = group.consumers().next().unwrap();
        assert_eq!((consumer.seen_at, consumer.active_at), (NOW + 1, active));
        let pending = group.pending_of(Id::new(1, 1)).unwrap();
        assert_eq!((pending.delivered_at, pending.deliveries), (NOW, 3));
    }
}

#[test]
fn a_stream_must_agree_with_itself() {
    let whole = stream(kind::STREAM_3);
    for at in 0..whole.len() {
        assert!(read_as(VERSION, &whole[..at]).is_err(), "cut at {at}");
    }
    let wrong = |at: usize, byte: u8| {
        let mut bytes = whole.clone();
        assert_ne!(bytes[at], byte);
        bytes[at] = byte;
        read_as(VERSION, &bytes).err()
    };
    let node = 1 + 1 + 1 + 16;
    let counts = whole.len() - 76;
    assert_eq!(whole[counts..counts + 3], [1, 1, 2], "the test knows its way");
    assert_eq!(wrong(counts, 2), Some(Corrupt::Wrong("a stream has not as much as it says")));
    assert_eq!(wrong(counts + 1, 0), Some(Corrupt::Wrong("the ids of a stream do not ascend")));
    let last = whole.len() - 1;
    assert_eq!(wrong(last, 7), Some(Corrupt::Wrong("a consumer has what is not pending")));
    assert_eq!(wrong(last - 16, 0), Some(Corrupt::Wrong("a pending entry has no consumer")));
    for (at, byte) in whole.iter().enumerate().take(counts).skip(node) {
        for bit in 0..8 {
            let _ = wrong(at, byte ^ 1 << bit);
        }
    }
}

/// What a thousand random changes of good values come to: an error or a value that can be used.
#[test]
fn random_changes_do_no_harm() {
    let mut random = fastrand::Rng::with_seed(7);
    let all = [
        blob(kind::HASH_ZIPMAP, b"\x02\x01a\x01\x011?\x01b\x02\x00xy\xff"),
        blob(kind::SET_INTSET, b"\x02\0\0\0\x03\0\0\0\xff\xff\x05\0\x00\x01"),
        blob(kind::ZSET_ZIPLIST, &ziplist(&["a", "1", "b", "2"])),
        blob(kind::HASH_LISTPACK, &listpack(&["a", "1", "b", "2", "cccccccccccc", "-5000"])),
        blob(kind::SET_LISTPACK, &listpack(&["a", "1", "b", "2", "c"])),
        stream(kind::STREAM_1),
        stream(kind::STREAM_2),
        stream(kind::STREAM_3),
    ];
    for good in all {
        assert!(read_as(VERSION, &good).is_ok());
        for _ in 0..4000 {
            let mut bytes = good.clone();
            for _ in 0..random.usize(1..4) {
                let at = random.usize(..bytes.len());
                bytes[at] =
                    if random.bool() { random.u8(..) } else { bytes[at] ^ 1 << random.u8(..8) };
            }
            if let Ok(Some(Value::Object(object))) = read_as(VERSION, &bytes) {
                dump::dump(ValueRef::Object(&object), NOW);
                object.duplicate();
            }
        }
    }
}
