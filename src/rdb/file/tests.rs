use super::super::output::Output;
use super::super::writer::{self, Access, Facts, Writer};
use super::super::{VERSION, VERSION_VALKEY, crc64::crc64, dump};
use super::*;
use crate::data::hash::{self, FieldValue, Hash, Lifetime};
use crate::data::list::{self, End, List};
use crate::data::packed::Element;
use crate::data::set::{self, Set};
use crate::data::sorted_set::{self, SortedSet};
use crate::data::stream::{NewId, NodeLimits, Stream};
use crate::data::{ValueRef, stream};
use proptest::prelude::*;

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

fn options() -> Options {
    Options { checksum: true, now: NOW, string_max: 1 << 20, limits: limits() }
}

/// What a file has to say, a line for each item, and where it ends.
fn read_with(bytes: &[u8], options: Options) -> Result<(Vec<String>, u64), FileError> {
    let mut reader = Reader::new(Buffered::new(bytes), options)?;
    let mut lines = Vec::new();
    while let Some(item) = reader.next()? {
        lines.push(match item {
            Item::Entry(Stored { db, key, value, expire_at, idle, frequency }) => {
                let value = match &value {
                    Value::String(text) => text.escape_ascii().to_string(),
                    Value::Owned(text) => text.escape_ascii().to_string(),
                    Value::Object(object) => {
                        dump::dump(ValueRef::Object(object), NOW).escape_ascii().to_string()
                    }
                };
                let times = [expire_at.map(|at| at - NOW), idle.map(|idle| idle as i64)];
                format!("{db} {} {value} {times:?} {frequency:?}", key.escape_ascii())
            }
            item => format!("{item:?}"),
        });
    }
    Ok((lines, reader.position()))
}

fn read(bytes: &[u8]) -> Result<Vec<String>, FileError> {
    Ok(read_with(bytes, options())?.0)
}

/// A file of this content, with its checksum.
fn file(magic: &[u8], content: &[u8]) -> Vec<u8> {
    let mut bytes = [magic, content, b"\xff"].concat();
    let crc = crc64(0, &bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

fn text(n: usize) -> Vec<u8> {
    format!("element {n} {}", "x".repeat(n % 40)).into_bytes()
}

/// A value of each type in each of its forms.
fn values() -> Vec<Object> {
    let limits = limits();
    let mut all = Vec::new();
    for count in [3, 300] {
        let mut list = List::to_fill();
        let (mut ints, mut members) = (Set::new(), Set::new());
        let mut sorted = SortedSet::new(0, 0, limits.sorted_set);
        let (mut fields, mut expiring) = (Hash::new(), Hash::new());
        let mut stream = Stream::default();
        for n in 0..count {
            let text = text(n);
            list.push(End::Back, Element::new(&text), limits.list);
            ints.add(n.to_string().as_bytes(), &limits.set);
            members.add(&text, &limits.set);
            sorted.insert(&text, n as f64 / 3.0, limits.sorted_set);
            let value = FieldValue::of(&text);
            fields.set(&text, value, Lifetime::Endless, limits.hash, NOW);
            let lifetime = Lifetime::Until(NOW + 1000 + n as i64);
            expiring.set(&text, value, lifetime, limits.hash, NOW);
            let id = NewId::Given(stream::Id::new(n as u64 + 1, 0));
            let nodes = NodeLimits { bytes: 4096, entries: 100 };
            stream.log.append(id, &[b"field", &text], nodes).unwrap();
        }
        all.extend([
            Object::List(list.filled(limits.list)),
            Object::Set(ints),
            Object::Set(members),
            Object::SortedSet(sorted),
            Object::Hash(fields),
            Object::Hash(expiring),
            Object::Stream(Box::new(stream)),
        ]);
    }
    all
}

const FACTS: Facts =
    Facts { redis_version: "7.2.4", made_at: 5, used_memory: 0, is_aof_base: false };

fn written(options: writer::Options) -> (Vec<u8>, Vec<String>) {
    let mut writer = Writer::begin(Vec::new(), options, &FACTS).unwrap();
    writer.function(b"#!lua name=x\nredis.register_function('f', print)").unwrap();
    writer.begin_db(3, 20, 2).unwrap();
    let mut lines = Vec::new();
    for (n, object) in values().iter().enumerate() {
        let value = ValueRef::Object(object);
        let key = format!("key:{n}");
        let (expire_at, access) = match n % 3 {
            0 => (None, Access::Untold),
            1 => (Some(NOW + 5), Access::Idle(77)),
            _ => (Some(NOW - 5), Access::Frequency(9)),
        };
        if super::super::save::kind_of(&value) == kind::HASH_2 && options.version == VERSION {
            assert!(writer.entry(key.as_bytes(), &value, None, access, NOW).is_err());
            continue;
        }
        writer.entry(key.as_bytes(), &value, expire_at, access, NOW).unwrap();
        let idle = matches!(access, Access::Idle(_)).then_some(77i64);
        let frequency = matches!(access, Access::Frequency(_)).then_some(9u8);
        let times = [expire_at.map(|at| at - NOW), idle];
        let payload = dump::dump(value, NOW).escape_ascii().to_string();
        lines.push(format!("3 {key} {payload} {times:?} {frequency:?}"));
    }
    for (key, string) in [("int", "-12"), ("", "abc"), ("long", &"ab".repeat(50_000))] {
        let value = ValueRef::Bytes(string.as_bytes());
        writer.entry(key.as_bytes(), &value, None, Access::Untold, NOW).unwrap();
        lines.push(format!("3 {key} {string} [None, None] None"));
    }
    let (bytes, len) = writer.end().unwrap();
    assert_eq!(bytes.len() as u64, len);
    (bytes, lines)
}

#[test]
fn what_is_written_is_read() {
    for version in [VERSION, VERSION_VALKEY] {
        for (compress, checksum) in [(true, true), (false, true), (true, false)] {
            let (mut bytes, lines) = written(writer::Options { version, compress, checksum });
            let len = bytes.len();
            assert_eq!(bytes[len - 8..] == [0; 8], !checksum);
            bytes.extend_from_slice(b"*1\r\n");
            let (read, end) = read_with(&bytes, options()).unwrap();
            assert_eq!(end, len as u64, "what follows is not touched");
            assert!(read[0].starts_with("Aux"), "{}", read[0]);
            assert!(read[5].starts_with("Function"), "{}", read[5]);
            assert_eq!(read[6], "Resize { db: 3, keys: 20, expires: 2 }");
            assert_eq!(read[7..], lines);
        }
    }
}

#[test]
fn files_are_longer_than_the_buffer() {
    let options_of = writer::Options { version: VERSION, compress: false, checksum: true };
    let mut writer = Writer::begin(Vec::new(), options_of, &FACTS).unwrap();
    let long = "x".repeat(200_000);
    let object = values().swap_remove(7);
    let list = ValueRef::Object(&object);
    for n in 0..300 {
        let value = if n % 100 == 0 { &ValueRef::Bytes(long.as_bytes()) } else { &list };
        writer.entry(n.to_string().as_bytes(), value, None, Access::Untold, NOW).unwrap();
    }
    let lines = read(&writer.end().unwrap().0).unwrap();
    assert_eq!(lines.len(), 5 + 300);
    let payload = dump::dump(list, NOW).escape_ascii().to_string();
    for (n, line) in lines[5..].iter().enumerate() {
        let value = if n % 100 == 0 { &long } else { &payload };
        assert_eq!(line, &format!("0 {n} {value} [None, None] None"));
    }
}

#[test]
fn all_that_may_stand_in_a_file() {
    let module = (0u64..9).fold(0, |id, n| id << 6 | n) << 10 | 3;
    let mut out = Output::default();
    out.put_byte(opcode::MODULE_AUX);
    out.put_len(module);
    out.put_bytes(b"\x02\x01\x01\x07\x03abcd\x04abcdefgh\x05\x02xy\x00");
    let seconds = [&[opcode::EXPIRE_SECONDS][..], &(NOW / 1000).to_le_bytes()[..4]].concat();
    let parts = [
        &b"\xfa\x01a\xc0\x07"[..],
        &out.bytes,
        b"\xf5\x02#!",
        b"\xfe\x02\xfb\x05\x01",
        b"\xf4\x03\x02\x01",
        b"\xf3\x02no\x01\x00\x10",
        &seconds,
        b"\xf8\x40\x80\x00\x01k\x01v",
        b"\xfc\xff\xff\xff\xff\xff\xff\xff\xff\xf9\xff\x00\x01l\xc3\x05\x15\x00x\xe0\x0b\x00",
        b"\x01\x05empty\x00",
        b"\x00\x01m\x00",
    ];
    let lines = read(&file(b"REDIS0012", &parts.concat())).unwrap();
    let expected = [
        "Aux { name: [97], value: [55] }",
        "ModuleAux { module: \"ABCDEFGHI\" }",
        "Function { code: [35, 33] }",
        "Resize { db: 2, keys: 5, expires: 1 }",
        "SlotInfo { slot: 3, keys: 2, expires: 1 }",
        "SlotImport",
        "2 k v [Some(0), Some(128)] None",
        "2 l xxxxxxxxxxxxxxxxxxxxx [None, None] Some(255)",
        "Nothing { db: 2, key: [101, 109, 112, 116, 121], why: Empty }",
        "2 m  [None, None] None",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn magics_and_versions() {
    for (magic, known) in [
        ("REDIS0001", true),
        ("REDIS0012", true),
        ("VALKEY080", true),
        ("REDIS0000", false),
        ("REDIS0013", false),
        ("REDIS0080", false),
        ("VALKEY081", false),
        ("VALKEY011", false),
        ("REDIS+011", false),
        ("REDIS 011", false),
    ] {
        let read = read(&file(magic.as_bytes(), b""));
        assert_eq!(read.is_ok(), known, "{magic}");
        assert!(known || matches!(read.unwrap_err().cause, Cause::Version(_)), "{magic}");
    }
    assert!(matches!(read(b"RADIS0011\xff").unwrap_err().cause, Cause::NotRdb));
    assert!(matches!(read(b"REDIS").unwrap_err().cause, Cause::NotRdb));
    // Before version 5 there is no checksum.
    assert_eq!(read_with(b"REDIS0004\xff", options()).unwrap().1, 10);
}

#[test]
fn what_cannot_be_read_is_told() {
    let error = |content: &[u8]| read(&file(b"REDIS0011", content)).unwrap_err().to_string();
    assert_eq!(
        error(b"\xf6\x00"),
        "at byte 10: its functions are in the format of a release candidate of Redis 7.0"
    );
    assert_eq!(error(b"\x63\x01k"), "at byte 12, in the value of key \"k\": there is no type 99");
    let mut out = Output::default();
    out.put_bytes(b"\x07\x01k");
    out.put_len(u64::MAX);
    assert!(error(&out.bytes).ends_with("it is a value of the module _________"));
    let mut bytes = file(b"REDIS0011", b"\x00\x01k\x01v");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    assert!(matches!(read(&bytes).unwrap_err().cause, Cause::Checksum { .. }));
    assert!(read_with(&bytes, Options { checksum: false, ..options() }).is_ok());
}

#[test]
fn every_cut_and_every_wrong_bit_is_noticed() {
    let whole = {
        let mut writer = Writer::begin(
            Vec::new(),
            writer::Options { version: VERSION_VALKEY, compress: true, checksum: true },
            &FACTS,
        )
        .unwrap();
        writer.begin_db(0, 7, 0).unwrap();
        for (n, object) in values().iter().take(7).enumerate() {
            let value = ValueRef::Object(object);
            writer.entry(&[n as u8], &value, Some(NOW), Access::Idle(5), NOW).unwrap();
        }
        writer.end().unwrap().0
    };
    assert!(read(&whole).is_ok());
    for cut in 0..whole.len() {
        let error = read(&whole[..cut]).unwrap_err();
        assert!(error.offset <= cut as u64);
    }
    let plain = Options { checksum: false, ..options() };
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut wrong = whole.clone();
            wrong[at] ^= 1 << bit;
            assert!(read(&wrong).is_err(), "bit {bit} of byte {at}");
            // Without the checksum it may make another value, but no harm.
            let _ = read_with(&wrong, plain.clone());
        }
    }
}

proptest! {
    #[test]
    fn no_input_does_harm(content in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = read_with(&file(b"REDIS0011", &content), options());
        let _ = read_with(&file(b"VALKEY080", &content), options());
    }

    #[test]
    fn keys_and_strings_come_back(entries in proptest::collection::vec(
        (proptest::collection::vec(any::<u8>(), 0..30), proptest::collection::vec(any::<u8>(), 0..200),
         proptest::option::of(0..i64::MAX)), 0..20)) {
        let options_of = writer::Options { version: VERSION, compress: true, checksum: true };
        let mut writer = Writer::begin(Vec::new(), options_of, &FACTS).unwrap();
        for (key, value, at) in &entries {
            writer.entry(key, &ValueRef::Bytes(value), *at, Access::Untold, NOW).unwrap();
        }
        let (bytes, _) = writer.end().unwrap();
        let mut reader = Reader::new(Buffered::new(&bytes[..]), options()).unwrap();
        let mut back = Vec::new();
        while let Some(item) = reader.next().unwrap() {
            if let Item::Entry(Stored { key, value: Value::String(text), expire_at, .. }) = item {
                back.push((key.to_vec(), text.to_vec(), expire_at));
            }
        }
        prop_assert_eq!(back, entries);
    }
}
