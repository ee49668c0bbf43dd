//! Values that travel between redis-server and Corelane by DUMP and RESTORE, payloads of old forms, and
//! payloads that are damaged.
//!
//! redis-server 7.0 does not know version 11: a payload of ours gets another footer before it goes
//! there, and what has no form in version 10 another form, or it stays at home.

use super::run::rng;
use super::values::*;
use crate::harness::compare::{OracleAge, same};
use crate::harness::pair::Pair;
use crate::harness::{Client, Cmd, Protocol, Reply, Rng, Server, cases};
use corelane::data::packed::Element;
use corelane::rdb::dump::{seal, unseal};
use corelane::rdb::input::Input;
use corelane::rdb::output::Output;
use corelane::rdb::{kind, listpack};
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

/// A type with one string behind it.
fn blob(kind: u8, string: &[u8]) -> Vec<u8> {
    let mut out = Output::default();
    out.put_byte(kind);
    out.put_string(string);
    out.bytes
}

/// Values in forms of all ages, and what is none.
fn contents() -> Vec<Vec<u8>> {
    // "a", 1, "b", 2 as a ziplist: 20 bytes, the last element at 17, 4 elements.
    let ziplist = b"\x14\0\0\0\x11\0\0\0\x04\0\x00\x01a\x03\xf2\x02\x01b\x03\xf3\xff";
    let ziplist = {
        let mut bytes = ziplist.to_vec();
        let len = bytes.len() as u8;
        (bytes[0], bytes[4]) = (len, len - 3);
        bytes
    };
    // 1, 2, -300 in 2 bytes each.
    let intset = b"\x02\0\0\0\x03\0\0\0\xd4\xfe\x01\0\x02\0";
    // a: 1 with a free byte behind it, b: xy.
    let zipmap = b"\x02\x01a\x01\x011?\x01b\x02\x00xy\xff";
    // "a", 1, "b", 2: 18 bytes, 4 elements.
    let listpack = b"\x11\0\0\0\x04\0\x81a\x02\x01\x01\x81b\x02\x02\x01\xff";
    let quicklist = [&[kind::QUICKLIST, 1][..], &blob(0, &ziplist)[1..]].concat();
    let quicklist_2 = [&[kind::QUICKLIST_2, 2, 1, 3][..], b"foo\x02", &blob(0, listpack)[1..]];
    vec![
        b"\x00\x05hello".to_vec(),
        b"\x00\xc1\xd2\x04".to_vec(),
        b"\x00\xc3\x05\x15\x00x\xe0\x0b\x00".to_vec(), // 21 times x
        b"\x01\x03\x01a\xc0\x05\x01a".to_vec(),
        b"\x02\x02\xc0\x05\x01a".to_vec(),
        b"\x03\x03\x01a\x031.5\x01b\xfe\x01c\xff".to_vec(), // 1.5, infinity, minus infinity
        [&b"\x05\x01\x01a"[..], &0.1f64.to_le_bytes()].concat(),
        b"\x04\x02\x01a\xc0\x01\x01b\x01x".to_vec(),
        blob(kind::HASH_ZIPMAP, zipmap),
        blob(kind::LIST_ZIPLIST, &ziplist),
        blob(kind::SET_INTSET, intset),
        blob(kind::ZSET_ZIPLIST, &ziplist),
        blob(kind::HASH_ZIPLIST, &ziplist),
        blob(kind::HASH_LISTPACK, listpack),
        blob(kind::ZSET_LISTPACK, listpack),
        quicklist,
        quicklist_2.concat(),
        // None of these is a value.
        b"\x00\x30hello".to_vec(),
        b"\x02\x00".to_vec(),
        b"\x02\x02\x01a\x01a".to_vec(),
        b"\x04\x30\x01a\x01x".to_vec(),
        b"\x03\x01\x01a\xfd".to_vec(), // not a number
        b"\xfe\x00".to_vec(),
        b"\x07\x00".to_vec(),
        blob(kind::HASH_ZIPLIST, &ziplist[..ziplist.len() - 1]),
        blob(kind::HASH_ZIPMAP, &zipmap[..zipmap.len() - 1]),
        blob(kind::SET_INTSET, &intset[..intset.len() - 1]),
    ]
}

fn payload() -> BoxedStrategy<Arg> {
    let sealed = |version| contents().into_iter().map(move |bytes| seal(bytes, version));
    let good: Vec<Arg> = [1, 6, 9, 10].into_iter().flat_map(sealed).collect();
    let mut bad: Vec<Arg> = [81, 1000].into_iter().flat_map(sealed).collect();
    bad.extend(good.iter().map(|payload| payload[..payload.len() - 1].to_vec()));
    bad.extend([b"".to_vec(), b"123456789".to_vec(), b"1234567890".to_vec()]);
    let select = proptest::sample::select;
    prop_oneof![12 => select(good), 1 => select(bad)].boxed()
}

/// RESTORE with all its options, and what shows the keys that it makes.
pub fn command() -> BoxedStrategy<Cmd> {
    let all = || {
        options(vec![
            option(vec![spelling("REPLACE")]),
            option(vec![spelling("REPLACE")]),
            option(vec![spelling("ABSTTL")]),
            option(vec![spelling("IDLETIME"), integer()]),
            option(vec![spelling("FREQ"), integer()]),
            option(vec![one_of(&["foo", "IDLETIME", "FREQ", ""])]),
        ])
    };
    // No short times: what depends on the moment cannot be compared.
    let never = || prop_oneof![6 => word("0"), 1 => one_of(&["-1", "abc", "", "1.5"])].boxed();
    prop_oneof![
        10 => with_tail("RESTORE", vec![key(), never(), payload()], all()),
        2 => with_tail("RESTORE", vec![key(), span(1000), payload()], all()),
        2 => with_tail("RESTORE", vec![key(), instant(1000), payload(), word("ABSTTL")], all()),
        1 => with_tail("RESTORE-ASKING", vec![key(), never(), payload()], all()),
        2 => cmd("TYPE", vec![key()]),
        2 => cmd("PTTL", vec![key()]),
        2 => cmd("GET", vec![key()]),
        3 => cmd("LRANGE", vec![key(), word("0"), word("-1")]),
        2 => cmd("SMEMBERS", vec![key()]),
        2 => cmd("ZRANGE", vec![key(), word("0"), word("-1"), word("WITHSCORES")]),
        3 => cmd("HGETALL", vec![key()]),
        1 => cmd("DEL", vec![key()]),
        1 => cmd("DBSIZE", vec![]),
    ]
    .boxed()
}

/// Some elements, or many.
fn items(item: BoxedStrategy<Arg>) -> Args {
    prop_oneof![4 => list(item.clone(), 1, 12), 1 => list(item, 100, 700)].boxed()
}

fn on_k(name: &'static str, tail: Args) -> BoxedStrategy<Cmd> {
    with_tail(name, vec![word("k")], tail)
}

fn stream_commands() -> BoxedStrategy<Vec<Cmd>> {
    let entry = |(ms, pairs): (u64, Vec<Arg>)| {
        let head = [b"XADD".to_vec(), b"k".to_vec(), format!("{ms}-*").into_bytes()];
        Cmd(head.into_iter().chain(pairs).collect())
    };
    let pairs = (proptest::sample::select(vec![1usize, 2, 2, 2, 3]), list(value(), 3, 3)).prop_map(
        |(count, values)| {
            let names = [&b"a"[..], b"b", b"7"].map(<[u8]>::to_vec);
            names.into_iter().zip(values).take(count).flat_map(|(n, v)| [n, v]).collect()
        },
    );
    let entries = proptest::collection::vec((1u64..40, pairs), 1..150).prop_map(move |mut all| {
        all.sort_by_key(|(ms, _)| *ms);
        all.into_iter().map(entry).collect::<Vec<_>>()
    });
    let group = || one_of(&["g", "h"]);
    let id = || (0u64..40, 0u64..3).prop_map(|(ms, seq)| format!("{ms}-{seq}").into_bytes());
    let some =
        |words: &[&str]| words.iter().map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>();
    let read = (group(), one_of(&["alice", "bob"]), 1usize..30).prop_map(move |(g, c, count)| {
        let mut words = some(&["XREADGROUP", "GROUP"]);
        words.extend([g, c, b"COUNT".to_vec(), count.to_string().into_bytes()]);
        words.extend(some(&["STREAMS", "k", ">"]));
        Cmd(words)
    });
    let change = prop_oneof![
        3 => on_k("XDEL", list(id().boxed(), 1, 8)),
        1 => on_k("XTRIM", joined(vec![option(vec![word("MINID")]), option(vec![id().boxed()])])),
        3 => cmd("XGROUP CREATE", vec![word("k"), group(), one_of(&["0", "$", "7-0"])]),
        4 => read,
        1 => cmd("XGROUP CREATECONSUMER", vec![word("k"), group(), word("carol")]),
        2 => with_tail("XACK", vec![word("k"), group()], list(id().boxed(), 1, 8)),
        1 => cmd("XSETID", vec![word("k"), word("50-0")]),
    ];
    (entries, proptest::collection::vec(change, 0..12))
        .prop_map(|(mut all, changes)| {
            all.extend(changes);
            all
        })
        .boxed()
}

/// Commands that make a value at `k`, of any type.
fn program() -> BoxedStrategy<Vec<Cmd>> {
    let scored = (integer_score(), value()).prop_map(|(score, member)| vec![score, member]);
    let scored = prop_oneof![4 => 1usize..12, 1 => 100usize..300]
        .prop_flat_map(move |count| proptest::collection::vec(scored.clone(), count))
        .prop_map(|pairs| pairs.concat());
    let fields = prop_oneof![4 => 1usize..12, 1 => 100usize..600]
        .prop_flat_map(|count| list(value(), 2 * count, 2 * count));
    let ints = (-70_000i64..70_000).prop_map(|n| n.to_string().into_bytes()).boxed();
    let one = prop_oneof![
        2 => cmd("SET", vec![word("k"), value()]),
        3 => on_k("RPUSH", items(value())),
        2 => on_k("SADD", items(value())),
        2 => on_k("SADD", items(ints)),
        3 => on_k("ZADD", scored.boxed()),
        3 => on_k("HSET", fields.boxed()),
    ];
    prop_oneof![4 => one.prop_map(|cmd| vec![cmd]), 1 => stream_commands()].boxed()
}

fn integer_score() -> BoxedStrategy<Arg> {
    let score = prop_oneof![
        4 => (-1000i64..1000).prop_map(|n| n.to_string()),
        3 => (-1000i32..1000).prop_map(|n| (f64::from(n) / 8.0).to_string()),
        1 => proptest::sample::select(vec!["inf", "-inf", "1e300", "0.1", "-0", "9007199254740993"])
            .prop_map(str::to_string),
    ];
    score.prop_map(String::into_bytes).boxed()
}

/// What shows all of a value of a type.
fn shows(kind: &str, key: &str) -> Vec<Cmd> {
    let lines = match kind {
        "string" => vec![format!("GET {key}")],
        "list" => vec![format!("LRANGE {key} 0 -1")],
        "set" => vec![format!("SMEMBERS {key}")],
        "zset" => vec![format!("ZRANGE {key} 0 -1 WITHSCORES")],
        "hash" => vec![format!("HGETALL {key}")],
        "stream" => vec![
            format!("XRANGE {key} - +"),
            format!("XINFO STREAM {key} FULL COUNT 1"),
            format!("XINFO GROUPS {key}"),
        ],
        _ => vec![format!("EXISTS {key}")],
    };
    lines.iter().map(|line| Cmd::new(line.split(' '))).collect()
}

/// A payload of ours as redis-server of this age can read it, if it can.
fn for_oracle(age: OracleAge, payload: &[u8], has_consumers: bool) -> Option<Vec<u8>> {
    if age == OracleAge::Current {
        return Some(payload.to_vec());
    }
    let (_, content) = unseal(payload).expect("a good payload");
    let mut content = content.to_vec();
    match content[0] {
        kind::SET_LISTPACK => {
            let mut scratch = Vec::new();
            let mut input = Input::new(&content[1..], 1 << 20);
            let packed = input.string(&mut scratch).unwrap().to_vec();
            let members: Vec<Element> =
                listpack::elements(&packed).unwrap().collect::<Result<_, _>>().unwrap();
            let mut out = Output::default();
            out.put_byte(kind::SET);
            out.put_len(members.len() as u64);
            members.iter().for_each(|member| out.put_element(*member));
            content = out.bytes;
        }
        // The two differ in when consumers were active.
        kind::STREAM_3 if has_consumers => return None,
        kind::STREAM_3 => content[0] = kind::STREAM_2,
        _ => {}
    }
    Some(seal(content, 10))
}

fn dump(client: &mut Client, key: &str) -> Vec<u8> {
    match client.call(&Cmd::new(["DUMP", key])) {
        Reply::Bulk(payload) => payload,
        other => panic!("DUMP {key}: {other:?}"),
    }
}

fn restore(client: &mut Client, key: &str, payload: &[u8]) -> Result<(), String> {
    let reply = client.call(&Cmd::new([b"RESTORE", key.as_bytes(), b"0", payload]));
    match &reply {
        Reply::Simple(ok) if ok == b"OK" => Ok(()),
        other => Err(format!("RESTORE {key}: {other:?}")),
    }
}

/// Makes a value on both servers, and sends it from each to the other and back to itself.
fn travel(pair: &Pair, program: &[Cmd]) -> Result<(), String> {
    let mut both = pair.connect(Protocol::Resp3);
    for cmd in program {
        both.redis.call(cmd);
        both.corelane.call(cmd);
    }
    let kind = both.redis.run("TYPE k").text();
    if kind == "none" {
        return Ok(());
    }
    let theirs = dump(&mut both.redis, "k");
    let ours = dump(&mut both.corelane, "k");
    restore(&mut both.corelane, "theirs", &theirs)?;
    restore(&mut both.corelane, "ours", &ours)?;
    restore(&mut both.redis, "theirs", &theirs)?;
    let has_consumers =
        program.iter().any(|cmd| cmd.name() == "XREADGROUP" || cmd.upper(1) == "CREATECONSUMER");
    let mut copies = vec!["theirs"];
    if let Some(ours) = for_oracle(pair.age, &ours, has_consumers) {
        restore(&mut both.redis, "ours", &ours)?;
        copies.push("ours");
    }
    for key in copies {
        for cmd in shows(&kind, key) {
            let (a, b) = (both.redis.call(&cmd), both.corelane.call(&cmd));
            same(&cmd, pair.age, &a, &b)
                .map_err(|why| format!("{cmd:?}: {why}\nredis {a:?}\nours {b:?}"))?;
        }
    }
    for cmd in shows(&kind, "k") {
        let own = cmd.clone();
        let key = |key: &str| {
            let word = |arg: &Vec<u8>| if arg == b"k" { key.into() } else { arg.clone() };
            Cmd(own.0.iter().map(word).collect())
        };
        let (a, b) = (both.corelane.call(&key("k")), both.corelane.call(&key("ours")));
        let age = OracleAge::Current;
        same(&cmd, age, &a, &b).map_err(|why| format!("{cmd:?}, a copy: {why}\n{a:?}\n{b:?}"))?;
    }
    let encoding = Cmd::new(["OBJECT", "ENCODING", "theirs"]);
    let (a, b) = (both.redis.call(&encoding), both.corelane.call(&encoding));
    same(&encoding, pair.age, &a, &b).map_err(|why| format!("{encoding:?}: {why} {a:?} {b:?}"))
}

#[test]
fn values_travel_both_ways() {
    for shards in [1, 3] {
        let pair = Pair::start(shards, &[]);
        let config = Config {
            cases: cases(250),
            failure_persistence: None,
            max_shrink_iters: 1_000,
            ..Config::default()
        };
        let mut runner = TestRunner::new_with_rng(config, rng("values_travel"));
        let verdict =
            runner.run(&program(), |program| travel(&pair, &program).map_err(TestCaseError::fail));
        if let Err(error) = verdict {
            panic!("{error}");
        }
    }
}

/// Fields that expire have a form in Valkey 9 only.
#[test]
fn fields_that_expire_travel_to_valkey_and_back() {
    let Some(valkey) = Server::valkey() else { return };
    let corelane = Server::corelane(2);
    let mut clients = [valkey.client(), corelane.client()];
    for client in &mut clients {
        client.run("HSET k a 1 b 2 c x");
        assert_eq!(client.run("HPEXPIREAT k 4000000000000 FIELDS 1 b").items(), [Reply::Int(1)]);
    }
    let payloads = clients.each_mut().map(|client| dump(client, "k"));
    for client in &mut clients {
        for payload in &payloads {
            client.run("DEL copy");
            restore(client, "copy", payload).unwrap();
            let times = client.run("HPEXPIRETIME copy FIELDS 3 a b c");
            let expected = [-1, 4_000_000_000_000, -1].map(Reply::Int);
            assert_eq!(times.items(), expected);
            assert_eq!(client.run("HMGET copy a b c"), client.run("HMGET k a b c"));
        }
    }
}

/// Values from which damaged payloads are made.
const MAKES: &[&str] = &[
    "SET k hello",
    "SET k rep(300,\"abc\")",
    "RPUSH k a 1 -70000 rep(100,\"x\") b",
    "RPUSH k rep(5000,\"x\") rep(5000,\"y\") z",
    "SADD k 1 2 70000",
    "SADD k a 1 b",
    "SADD k a rep(70,\"x\") 5",
    "ZADD k 1 a 2.5 b inf c",
    "ZADD k 1 a 2.5 b 3 rep(70,\"x\")",
    "HSET k a 1 b 2",
    "HSET k a 1 b rep(70,\"x\")",
];

const STREAM: &str = r#"
    XADD k 1-1 a 1 b x
    XADD k 1-2 a 2 b y
    XADD k 5-0 c 7
    XGROUP CREATE k g 0
    XGROUP CREATE k h $
    XREADGROUP GROUP g alice COUNT 2 STREAMS k >
    XREADGROUP GROUP g bob COUNT 2 STREAMS k >
"#;

fn damaged(payload: &[u8], random: &mut Rng) -> Vec<u8> {
    let mut bytes = payload.to_vec();
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len());
        match random.below(6) {
            0 => bytes[at] = random.next() as u8,
            1 => bytes[at] = [0, 0x7f, 0x80, 0x81, 0xfe, 0xff][random.below(6)],
            2 => drop(bytes.remove(at)),
            3 => bytes.insert(at, random.next() as u8),
            4 => bytes.truncate(at.max(1)),
            _ => bytes[at] ^= 1 << random.below(8),
        }
        if bytes.is_empty() {
            bytes.push(0);
        }
    }
    bytes
}

/// Reads and changes whatever a damaged payload has come to.
fn use_up(client: &mut Client, kind: &str) {
    for cmd in shows(kind, "f") {
        assert!(!client.call(&cmd).is_error(), "{cmd:?} of a value that was accepted");
    }
    dump(client, "f");
    let changes: &[&str] = match kind {
        "string" => &["APPEND f x", "STRLEN f"],
        "list" => &["LPUSH f a", "RPOP f", "LSET f 0 b", "LREM f 0 a", "LTRIM f 0 1"],
        "set" => &["SADD f a", "SPOP f", "SRANDMEMBER f 5", "SREM f a 1 b"],
        "zset" => {
            &["ZADD f 3 a", "ZPOPMIN f", "ZRANK f a", "ZRANGEBYSCORE f -inf +inf", "ZREM f b"]
        }
        "hash" => &["HSET f a 2 z 1", "HRANDFIELD f 5 WITHVALUES", "HDEL f a b", "HINCRBY f n 1"],
        _ => &[
            "XADD f * a 1",
            "XREADGROUP GROUP g alice STREAMS f >",
            "XAUTOCLAIM f g bob 0 0",
            "XPENDING f g",
            "XDEL f 1-1 1-2 5-0",
            "XTRIM f MAXLEN 1",
            "XTRIM f MINID ~ 5-1",
            "XREVRANGE f + -",
            "XINFO CONSUMERS f g",
        ],
    };
    changes.iter().for_each(|line| drop(client.run(line)));
    client.run("COPY f g REPLACE");
    client.run("DEL f g");
}

#[test]
fn damaged_payloads_do_no_harm() {
    let server = Server::corelane(2);
    let mut client = server.client();
    let mut payloads = Vec::new();
    for make in MAKES {
        client.run("DEL k");
        client.run(make);
        payloads.push(dump(&mut client, "k"));
    }
    client.run("DEL k");
    crate::harness::script::parse_script(STREAM).iter().for_each(|cmd| drop(client.call(cmd)));
    payloads.push(dump(&mut client, "k"));
    client.run("DEL k");
    client.run("HSET k a 1 b 2");
    client.run("HPEXPIREAT k 4000000000000 FIELDS 1 b");
    payloads.push(dump(&mut client, "k"));
    payloads.extend(contents().into_iter().map(|content| seal(content, 10)));
    let (mut random, mut accepted) = (Rng::new(77), 0);
    for _ in 0..cases(6_000) {
        let payload = &payloads[random.below(payloads.len())];
        let sealed = match random.below(8) {
            0 => damaged(payload, &mut random),
            _ => {
                let (version, content) = unseal(payload).expect("a good payload");
                seal(damaged(content, &mut random), version)
            }
        };
        match restore(&mut client, "f", &sealed) {
            Err(error) => assert!(
                error.contains("Bad data format") || error.contains("checksum are wrong"),
                "{error}"
            ),
            Ok(()) => {
                accepted += 1;
                let kind = client.run("TYPE f").text();
                use_up(&mut client, &kind);
            }
        }
    }
    assert!(accepted > cases(6_000) / 60, "only {accepted} of them were values");
    assert_eq!(client.run("PING").text(), "PONG");
}
