//! Every form of a value that some version of the format had, in bytes made by hand, in a file of each version that
//! may have it; read by one thread, and by several.

use super::loaded::Loaded;
use corelane::persist::foreign::Source;
use std::path::PathBuf;

const NOW: i64 = 1_700_000_000_000;
/// When fields expire.
const AT: i64 = 3_400_000_000_000;

/// One value: since which version it may be there, its type, and what a command answers of it.
struct Form {
    since: u16,
    kind: u8,
    bytes: Vec<u8>,
    /// `K` stands for the key.
    question: &'static str,
    answer: String,
}

/// A string of up to 63 bytes.
fn string(bytes: &[u8]) -> Vec<u8> {
    assert!(bytes.len() < 64);
    [&[bytes.len() as u8], bytes].concat()
}

/// An element of a ziplist or listpack: a string, or a small number.
#[derive(Clone, Copy)]
enum E {
    S(&'static str),
    N(u8),
    /// A number of 64 bits.
    L(i64),
}

fn ziplist(elements: &[E]) -> Vec<u8> {
    let (mut body, mut before) = (Vec::new(), 0);
    let mut last = 10;
    for element in elements {
        last = 10 + body.len();
        let mut entry = vec![before];
        match element {
            E::S(text) => {
                entry.push(text.len() as u8);
                entry.extend(text.bytes());
            }
            E::N(n @ 0..=12) => entry.push(0xf1 + n),
            E::N(n) => entry.extend([0xfe, *n]),
            E::L(n) => {
                entry.push(0xe0);
                entry.extend(n.to_le_bytes());
            }
        }
        before = entry.len() as u8;
        body.extend(entry);
    }
    let total = 10 + body.len() + 1;
    let mut bytes = [(total as u32).to_le_bytes(), (last as u32).to_le_bytes()].concat();
    bytes.extend((elements.len() as u16).to_le_bytes());
    bytes.extend(body);
    bytes.push(0xff);
    bytes
}

fn listpack(elements: &[E]) -> Vec<u8> {
    let mut body = Vec::new();
    for element in elements {
        let entry = match element {
            E::S(text) => [&[0x80 | text.len() as u8], text.as_bytes()].concat(),
            E::N(n @ 0..0x80) => vec![*n],
            E::N(n) => vec![0xc0, *n],
            E::L(n) => [&[0xf4][..], &n.to_le_bytes()].concat(),
        };
        let len = entry.len() as u8;
        body.extend(entry);
        body.push(len);
    }
    let mut bytes = ((6 + body.len() + 1) as u32).to_le_bytes().to_vec();
    bytes.extend((elements.len() as u16).to_le_bytes());
    bytes.extend(body);
    bytes.push(0xff);
    bytes
}

fn intset(width: u32, numbers: &[i64]) -> Vec<u8> {
    let mut bytes = [width.to_le_bytes(), (numbers.len() as u32).to_le_bytes()].concat();
    numbers.iter().for_each(|n| bytes.extend(&n.to_le_bytes()[..width as usize]));
    bytes
}

/// One entry `1-1 {a 1}`, delivered to c of g, who has not acknowledged it.
fn stream(kind: u8) -> Vec<u8> {
    let id = [[0, 0, 0, 0, 0, 0, 0, 1]; 2].concat();
    let node = [1, 0, 1].map(E::N).into_iter().chain([E::S("a"), E::N(0)]);
    let node: Vec<E> = node.chain([2, 0, 0, 1, 4].map(E::N)).collect();
    let mut bytes = [&[1][..], &string(&id), &string(&listpack(&node)), &[1, 1, 1]].concat();
    if kind != 15 {
        bytes.extend([1, 1, 0, 0, 1]); // first id, greatest deleted id, added
    }
    bytes.extend([1, 1, b'g', 1, 1]);
    if kind != 15 {
        bytes.push(1); // read
    }
    let time = NOW.to_le_bytes();
    bytes.extend([&[1][..], &id, &time, &[1], &[1, 1, b'c'], &time].concat());
    if kind == 21 {
        bytes.extend((NOW - 5).to_le_bytes());
    }
    [bytes, vec![1], id].concat()
}

fn form(since: u16, kind: u8, bytes: &[u8], question: &'static str, answer: &str) -> Form {
    Form { since, kind, bytes: bytes.to_vec(), question, answer: answer.to_string() }
}

/// A value that is one string.
fn blob(since: u16, kind: u8, bytes: Vec<u8>, question: &'static str, answer: &str) -> Form {
    form(since, kind, &string(&bytes), question, answer)
}

fn forms() -> Vec<Form> {
    use E::{L, N, S};
    let (list, set) = ("LRANGE K 0 -1", "SORT K ALPHA");
    let (zset, hash) = ("ZRANGE K 0 -1 WITHSCORES", "HGETALL K");
    let times = "HPEXPIRETIME K FIELDS 2 f g";
    let pairs = [S("a"), N(1), S("b"), N(200)];
    let plain_hash = b"\x02\x01f\x01v\x01g\xc0\x07";
    let binary = [&b"\x02\x01b"[..], &2.5f64.to_le_bytes(), b"\x01a", &1f64.to_le_bytes()].concat();
    let node = |elements: &[E]| string(&ziplist(elements));
    let quick = [&[2][..], &node(&[S("a"), N(1)]), &node(&[L(i64::MIN)])].concat();
    let pack = |elements: &[E]| [vec![2], string(&listpack(elements))].concat();
    let quick_2 = [&[2][..], &pack(&[S("a"), N(1)]), b"\x01\x01b"].concat();
    let at = AT.to_le_bytes();
    // As a length of 64 bits.
    let long = |n: i64| [&[0x81][..], &n.to_be_bytes()].concat();
    let absolute = [&[2][..], &long(AT), b"\x01f\x01v\x00\x01g\xc0\x07"].concat();
    let relative = [&at[..], b"\x02\x01\x01f\x01v\x00\x01g\xc0\x07"].concat();
    let triples = listpack(&[S("f"), S("v"), L(AT), S("g"), N(7), N(0)]);
    let valkey = [b"\x02\x01f\x01v", &at[..], b"\x01g\xc0\x07", &[0xff; 8]].concat();
    let expiring = format!("{AT} -1");
    let pending = "XPENDING K g - + 9 c";
    vec![
        form(1, 0, b"\x05hello", "GET K", "hello"),
        form(1, 0, b"\xc1\x39\x30", "GET K", "12345"),
        form(1, 0, b"\xc2\x00\x00\x00\x80", "GET K", "-2147483648"),
        form(1, 0, b"\xc3\x05\x15\x00x\xe0\x0b\x00", "GET K", "xxxxxxxxxxxxxxxxxxxxx"),
        form(1, 1, b"\x03\x01a\xc0\xff\x01a", list, "a -1 a"),
        form(1, 2, b"\x02\x01a\x01b", set, "a b"),
        form(1, 3, b"\x03\x01a\x031.5\x01b\xfe\x01c\xff", zset, "c -inf a 1.5 b inf"),
        form(1, 4, plain_hash, hash, "f v g 7"),
        blob(2, 9, b"\x02\x01a\x01\x011?\x01b\x02\x00xy\xff".to_vec(), hash, "a 1 b xy"),
        blob(
            2,
            10,
            ziplist(&[S("a"), N(1), N(200), L(-5_000_000_000)]),
            list,
            "a 1 -56 -5000000000",
        ),
        blob(2, 11, intset(2, &[-3, 5, 300]), set, "-3 300 5"),
        blob(2, 11, intset(4, &[-70_000, 5]), set, "-70000 5"),
        blob(2, 11, intset(8, &[5, i64::MAX]), set, "5 9223372036854775807"),
        blob(2, 12, ziplist(&[S("a"), N(1), S("b"), S("2.5")]), zset, "a 1 b 2.5"),
        blob(4, 13, ziplist(&[S("f"), S("v"), S("g"), N(7)]), hash, "f v g 7"),
        form(7, 14, &quick, list, "a 1 -9223372036854775808"),
        form(8, 5, &binary, zset, "a 1 b 2.5"),
        form(9, 15, &stream(15), pending, "1-1 c 0 1"),
        blob(10, 16, listpack(&pairs[..2]), hash, "a 1"),
        blob(10, 17, listpack(&[S("a"), N(1), S("b"), S("2.5")]), zset, "a 1 b 2.5"),
        form(10, 18, &quick_2, list, "a 1 b"),
        form(10, 19, &stream(19), pending, "1-1 c 0 1"),
        blob(11, 20, listpack(&[S("a"), N(7)]), set, "7 a"),
        form(11, 21, &stream(21), pending, "1-1 c 0 1"),
        form(11, 21, &stream(21), "XINFO CONSUMERS K g", "name c pending 1 idle 0 inactive 5"),
        form(12, 22, &absolute, times, &expiring),
        blob(12, 23, triples.clone(), times, &expiring),
        form(12, 24, &relative, times, &expiring),
        form(12, 24, &relative, hash, "f v g 7"),
        form(12, 25, &[&at[..], &string(&triples)].concat(), times, &expiring),
        form(80, 22, &valkey, times, &expiring),
        form(80, 22, &valkey, hash, "f v g 7"),
    ]
}

/// Forms that a file of this version may have; Valkey's are those of Redis 7.2 and its own.
fn are_in(version: u16, form: &Form) -> bool {
    match version {
        80 => form.since <= 11 || form.since == 80,
        _ => form.since <= version,
    }
}

fn file(version: u16, forms: &[Form]) -> Vec<u8> {
    let mut bytes = match version {
        80 => b"VALKEY080".to_vec(),
        _ => format!("REDIS{version:04}").into_bytes(),
    };
    if version >= 7 {
        bytes.extend(b"\xfa\x09redis-ver\x03old\xfe\x00\xfb\x20\x00");
    } else {
        bytes.extend(b"\xfe\x00");
    }
    for (at, form) in forms.iter().enumerate().filter(|(_, form)| are_in(version, form)) {
        match (at % 3, version) {
            (1, _) => bytes.extend([&[0xfd][..], &2_000_000_000i32.to_le_bytes()].concat()),
            (2, 3..) => bytes.extend([&[0xfc][..], &AT.to_le_bytes()].concat()),
            _ => {}
        }
        bytes.push(form.kind);
        bytes.extend(string(format!("key{at}").as_bytes()));
        bytes.extend(&form.bytes);
    }
    bytes.push(0xff);
    if version >= 5 {
        // No checksum was made.
        bytes.extend([0; 8]);
    }
    bytes
}

struct File(PathBuf);

impl File {
    fn new(name: &str, bytes: &[u8]) -> File {
        let path =
            std::env::temp_dir().join(format!("corelane-rdb-{}-{name}.rdb", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        File(path)
    }

    fn source(&self) -> Source {
        Source::Rdb(self.0.clone())
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The words of an answer, however they are nested.
fn words(reply: &crate::harness::Reply, out: &mut Vec<String>) {
    use crate::harness::Reply;
    match reply {
        Reply::Array(items) => items.iter().for_each(|item| words(item, out)),
        Reply::Int(n) => out.push(n.to_string()),
        other => out.push(other.text()),
    }
}

#[test]
fn all_forms_in_files_of_all_versions() {
    let forms = forms();
    for version in (1..=12).chain([80]) {
        let file = File::new(&version.to_string(), &file(version, &forms));
        for shards in [None, Some(1), Some(3)] {
            let mut loaded = Loaded::at(NOW);
            let report = match shards {
                None => loaded.load(&file.source()),
                Some(shards) => loaded.spread(&file.source(), shards),
            };
            let report = report.unwrap_or_else(|error| panic!("version {version}: {error}"));
            let count = forms.iter().filter(|form| are_in(version, form)).count();
            assert_eq!(report.progress.keys, count as u64, "version {version}");
            for (at, form) in forms.iter().enumerate().filter(|(_, form)| are_in(version, form)) {
                let what = format!("version {version}, type {}, {shards:?} shards", form.kind);
                let key = format!("key{at}");
                let reply = loaded.run(&form.question.replace('K', &key));
                let mut found = Vec::new();
                words(&reply, &mut found);
                assert_eq!(found.join(" "), form.answer, "{what}: {}", form.question);
                let expected = match (at % 3, version) {
                    (1, _) => 2_000_000_000_000,
                    (2, 3..) => AT,
                    _ => -1,
                };
                assert_eq!(loaded.run(&format!("PEXPIRETIME {key}")).int(), expected, "{what}");
            }
        }
    }
}

#[test]
fn values_of_modules_are_refused_by_name() {
    let id = (0u64..9).fold(0, |id, n| id << 6 | (n + 1)) << 10 | 1;
    for kind in [6, 7] {
        let value = [&[0x81][..], &id.to_be_bytes(), &[0]].concat();
        let bytes =
            [b"REDIS0011\x00\x01a\x01v", &[kind][..], b"\x01m", &value, b"\xff", &[0; 8]].concat();
        let file = File::new(&format!("module-{kind}"), &bytes);
        let mut loaded = Loaded::at(NOW);
        for error in [loaded.load(&file.source()), Loaded::at(NOW).spread(&file.source(), 2)] {
            let error = error.unwrap_err().to_string();
            let expected = "in the value of key \"m\": it is a value of the module BCDEFGHIJ";
            assert!(error.contains(expected), "{error}");
        }
    }
}

#[test]
fn what_is_wrong_is_told_as_by_one_thread() {
    let forms = forms();
    let whole = file(11, &forms);
    let mut random = fastrand::Rng::with_seed(11);
    let mut failed = 0;
    for turn in 0..300 {
        let mut bytes = whole.clone();
        match random.bool() {
            true => bytes.truncate(random.usize(9..bytes.len())),
            false => {
                let at = random.usize(9..bytes.len());
                bytes[at] ^= 1 << random.u8(..8);
            }
        }
        let file = File::new(&format!("wrong-{turn}"), &bytes);
        let (mut one, mut other) = (Loaded::at(NOW), Loaded::at(NOW));
        let (one_went, other_went) = (one.load(&file.source()), other.spread(&file.source(), 3));
        match (one_went, other_went) {
            (Ok(one_report), Ok(other_report)) => {
                assert_eq!(one_report, other_report);
                assert_eq!(one.keys(), other.keys());
            }
            (Err(_), Err(_)) => failed += 1,
            (one, other) => panic!("{one:?} and {other:?}"),
        }
    }
    assert!(failed > 100, "{failed} of 300");
}
