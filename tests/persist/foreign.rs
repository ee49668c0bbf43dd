//! What real servers have left is loaded, and compared with what they have, command by command.

use super::loaded::Loaded;
use crate::harness::{Client, Cmd, Reply, Server, is_rewriting, parse_line, wait_until};
use corelane::persist::foreign::{Source, find_aof, find_rdb};
use corelane::shard::Access;
use std::path::Path;
use std::time::Duration;

/// Makes a value of each type in each encoding that the server has for it.
const FILL: &str = "\
    SET int 12345\nSET negative -7\nSET big 9223372036854775807\nSET text hello\nSET empty ''\n\
    SET binary \"\\x00\\xff\\r\\n\"\nSET \"\\x00key\\r\\n\" v\nAPPEND raw abc\nSETBIT bits 1000 1\n\
    SET lasting v PXAT 99999999999999\nSET second v EX 100000\nPFADD hll a b c d\n\
    RPUSH list a 1 -5 70000 \"\"\nSADD ints 1 2 3\nSADD ints32 1 100000\nSADD ints64 1 5000000000\n\
    SADD words a b 3\nZADD scores 1 a 2.5 b -inf c inf d 1e300 e 0.1 f\nHSET hash f v g 1 h ''\n\
    GEOADD places 13.361389 38.115556 Palermo 15.087269 37.502669 Catania\n\
    XADD stream 1-1 a 1 b 2\nXADD stream 1-2 a 3 b 4\nXADD stream 5-0 c 5\nXDEL stream 1-2\n\
    XGROUP CREATE stream group 0\nXGROUP CREATE stream idle $\nXREADGROUP GROUP group one COUNT 1 STREAMS stream >\n\
    XREADGROUP GROUP group two STREAMS stream >\nXGROUP CREATECONSUMER stream group three\n\
    XADD gone 7-7 f v\nXDEL gone 7-7\nXSETID stream 9-9\nHSET expiring f v\nPEXPIREAT expiring 99999999999998";

/// What else happens before the files are looked at.
pub const GO_ON: &str = "\
    INCR counter\nINCRBYFLOAT float 1.1\nINCRBYFLOAT float 0.25\nHINCRBYFLOAT hash x 0.5\nGETEX text PX 9999999\n\
    SPOP words\nSPOP big_set 3\nRENAME raw renamed\nCOPY hash copied\nMOVE ints 4\nLMOVE list other LEFT RIGHT\n\
    LMPOP 1 list LEFT COUNT 2\nZPOPMIN scores\nZADD scores XX INCR 5 b\nXADD stream * now 1\nXADD stream MAXLEN 3 * now 2\n\
    XREADGROUP GROUP group one STREAMS stream >\nXCLAIM stream group two 0 5-0\nXAUTOCLAIM stream group four 0 0\n\
    XACK stream group 5-0\nXGROUP CREATE made g 0 MKSTREAM\nXGROUP CREATECONSUMER made g c\nSETRANGE text 2 LL\n\
    SINTERSTORE both ints32 ints64\nSORT list BY nosort STORE sorted\nBITOP NOT inverted bits\nBITFIELD bits SET u8 0 255\n\
    PFADD hll e f\nPFMERGE merged hll\nMULTI\nSET in_multi 1\nRPUSH multi_list a b\nSELECT 3\nSET three 1\nSELECT 0\nEXEC\n\
    EVAL \"redis.call('SET', KEYS[1], ARGV[1]); return redis.call('INCR', KEYS[2])\" 2 scripted counted v\n\
    FCALL set_it 1 from_function\nSWAPDB 4 6\nSELECT 7\nSET seven v\nFLUSHDB\nSET after v\nSELECT 0\nDEL empty\nUNLINK negative\n\
    PEXPIRE int 100000000\nPERSIST lasting\nGETDEL binary\nMSET m1 a m2 b\nEXPIRE m1 -1\nSET m2 c KEEPTTL\nHDEL hash f\n\
    ZRANGESTORE ranged scores 0 2\nGEOSEARCHSTORE near places FROMLONLAT 15 37 BYRADIUS 200 km\nLTRIM other 0 0\nSET short v PX 100000";

const LIBRARY: &str = "#!lua name=library\nredis.register_function('set_it', function(keys) return redis.call('SET', keys[1], 'f') end)";

fn long_values(client: &mut Client) {
    let text = |n: usize| format!("element:{n}:{}", "x".repeat(n % 50));
    client.run("DEBUG QUICKLIST-PACKED-THRESHOLD 100b");
    let with = |command: &str, key: &str, parts: usize, count: usize| {
        let mut words = vec![command.to_string(), key.to_string()];
        for n in 0..count {
            match parts {
                2 if command == "ZADD" => words.push(format!("{}", n as f64 / 3.0)),
                2 => words.push(format!("field:{n}")),
                _ => {}
            }
            words.push(text(n));
        }
        Cmd::new(words)
    };
    for cmd in [
        with("RPUSH", "big_list", 1, 3000),
        with("SADD", "big_set", 1, 1000),
        with("ZADD", "big_scores", 2, 1000),
        with("HSET", "big_hash", 2, 1000),
        Cmd::new(["RPUSH", "plain", "a", &"p".repeat(500), &"q".repeat(90_000)]),
        Cmd::new(["SET", "long", &"abc ".repeat(100_000)]),
        Cmd::new(["FUNCTION", "LOAD", LIBRARY]),
    ] {
        assert!(!client.call(&cmd).is_error(), "{:.100}", format!("{cmd:?}"));
    }
    for n in 0..500 {
        client.call(&Cmd::new(["XADD", "big_stream", "*", "n", &n.to_string(), "text", &text(n)]));
        client.call(&Cmd::new(["PFADD", "dense", &format!("{n}{}", n * n)]));
        client.call(&Cmd::new(["SADD", "big_ints", &(n * 7).to_string()]));
    }
    client.run("PFDEBUG TODENSE dense");
}

/// Fills two databases with every type and encoding.
pub fn fill(client: &mut Client) {
    for db in [0, 9] {
        client.run(&format!("SELECT {db}"));
        run_all(client, FILL);
    }
    client.run("SELECT 0");
    long_values(client);
}

pub fn run_all(client: &mut Client, script: &str) {
    for line in script.lines() {
        let reply = client.run(line.trim());
        assert!(!reply.is_error(), "{line}: {reply:?}");
    }
}

/// A reply without what two servers may have differently, and without an order that means nothing.
fn settled(reply: Reply, sorts: bool, leave_out: &[&str]) -> Reply {
    let Reply::Array(parts) = reply else { return reply };
    let mut kept = Vec::new();
    let mut parts = parts.into_iter();
    while let Some(part) = parts.next() {
        let is_left_out = matches!(&part, Reply::Bulk(name) if leave_out.iter().any(|out| out.as_bytes() == name));
        match is_left_out {
            true => drop(parts.next()),
            false => kept.push(settled(part, false, leave_out)),
        }
    }
    if sorts {
        kept.sort();
    }
    Reply::Array(kept)
}

/// Pairs in the order of their first parts.
fn sorted_pairs(reply: Reply) -> Reply {
    let Reply::Array(parts) = reply else { return reply };
    let mut pairs: Vec<Reply> = parts.chunks(2).map(|pair| Reply::Array(pair.to_vec())).collect();
    pairs.sort();
    Reply::Array(pairs)
}

/// Members with their scores as numbers, of which Redis before 7.2 has other texts.
fn scored(reply: Reply) -> Reply {
    let Reply::Array(mut parts) = reply else { return reply };
    for score in parts.iter_mut().skip(1).step_by(2) {
        let number: f64 = score.text().parse().unwrap();
        *score = Reply::Double(format!("{number:?}"));
    }
    Reply::Array(parts)
}

/// Compares all keys of a server with those that were loaded.
fn compare(server: &Server, loaded: &mut Loaded, leave_out: &[&str]) {
    let mut client = server.client();
    for db in 0..16u8 {
        client.run(&format!("SELECT {db}"));
        let Reply::Array(keys) = client.run("KEYS *") else { panic!("KEYS") };
        let ours = loaded.call(db, &parse_line("KEYS *"));
        let theirs = settled(Reply::Array(keys.clone()), true, &[]);
        assert_eq!(settled(ours, true, &[]), theirs, "keys of database {db}");
        for key in keys {
            let Reply::Bulk(key) = key else { panic!("a key") };
            compare_key(&mut client, loaded, db, &key, leave_out);
        }
    }
    let theirs = client.run("FUNCTION LIST WITHCODE");
    let libraries = loaded.scripts.libraries();
    let codes: Vec<Vec<u8>> = libraries.iter().map(|library| library.code.clone()).collect();
    let Reply::Array(theirs) = theirs else { panic!("FUNCTION LIST") };
    let of = |library: &Reply| match library {
        Reply::Array(parts) => parts.last().map(Reply::text).unwrap(),
        other => panic!("{other:?}"),
    };
    let theirs: Vec<Vec<u8>> = theirs.iter().map(|library| of(library).into_bytes()).collect();
    assert_eq!(codes, theirs, "libraries");
}

fn compare_key(client: &mut Client, loaded: &mut Loaded, db: u8, key: &[u8], leave_out: &[&str]) {
    let mut same = |words: &[&[u8]], settle: fn(Reply) -> Reply| {
        let cmd = Cmd::new(words);
        let (theirs, ours) = (client.call(&cmd), loaded.call(db, &cmd));
        let settle = |reply| settled(settle(reply), false, leave_out);
        let (theirs, ours) = (settle(theirs), settle(ours));
        if ours != theirs {
            let shown = |reply: &Reply| format!("{:.2000}", format!("{reply:?}"));
            panic!("{cmd:?} in database {db}:\n{}\n{}", shown(&ours), shown(&theirs));
        }
        theirs
    };
    let kept = |reply: Reply| reply;
    let kind = same(&[b"TYPE", key], kept).text();
    same(&[b"PEXPIRETIME", key], kept);
    // 7.0 has other forms.
    if leave_out.is_empty() {
        same(&[b"OBJECT", b"ENCODING", key], kept);
    }
    match &kind[..] {
        "string" => same(&[b"GET", key], kept),
        "list" => same(&[b"LRANGE", key, b"0", b"-1"], kept),
        "set" => same(&[b"SMEMBERS", key], |reply| settled(reply, true, &[])),
        "zset" => same(&[b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"], scored),
        "hash" => same(&[b"HGETALL", key], sorted_pairs),
        "stream" => same(&[b"XINFO", b"STREAM", key, b"FULL", b"COUNT", b"0"], kept),
        other => panic!("type {other}"),
    };
}

/// What streams say of times that passed in between, or that servers before 7.2 do not say.
const TIMES: &[&str] = &["seen-time", "active-time"];

fn now(server: &Server) -> i64 {
    let Reply::Array(parts) = server.client().run("TIME") else { panic!("TIME") };
    let number = |at: usize| parts[at].text().parse::<i64>().unwrap();
    number(0) * 1000 + number(1) / 1000
}

fn rdb_of(server: &Server) -> Source {
    assert_eq!(server.client().run("SAVE").text(), "OK");
    find_rdb(&server.dir, "dump.rdb").unwrap().expect("it was made")
}

/// The servers whose files are read, and whether they keep times of consumers as 7.2 does.
fn servers(args: &[&str]) -> Vec<(Server, bool)> {
    let mut all = vec![(Server::redis_with(args), false)];
    for variable in ["CORELANE_REDIS_7_2", "CORELANE_VALKEY"] {
        all.extend(Server::named_by(variable, args).map(|server| (server, true)));
    }
    all
}

#[test]
fn rdb_files() {
    for args in [
        &["--rdbcompression", "yes"][..],
        &["--rdbcompression", "no", "--rdbchecksum", "no"],
        &["--maxmemory-policy", "allkeys-lru"],
        &["--set-max-intset-entries", "2", "--list-max-listpack-size", "1"],
    ] {
        for (server, has_times) in servers(args) {
            fill(&mut server.client());
            let mut client = server.client();
            client.run("DEBUG SET-ACTIVE-EXPIRE 0");
            client.run("SET passed v PX 1");
            std::thread::sleep(Duration::from_millis(20));
            let source = rdb_of(&server);
            let mut loaded = Loaded::at(now(&server));
            let report = loaded.load(&source).unwrap();
            assert_eq!((report.expired, report.empty, report.functions), (1, 0, 1));
            let len = std::fs::metadata(server.dir.join("dump.rdb")).unwrap().len();
            assert_eq!((report.progress.done, report.progress.total), (len, len));
            assert_eq!(loaded.told.last(), Some(&report.progress));
            // What a server has after a restart: not all that it had before is in the file.
            assert_eq!(client.run("DEBUG RELOAD NOSAVE").text(), "OK");
            let leave_out = if has_times { &[] } else { TIMES };
            if args[0] == "--set-max-intset-entries" {
                // Values take the forms that the limits here ask for.
                for db in [0u8, 9] {
                    assert_eq!(
                        loaded.call(db, &parse_line("OBJECT ENCODING list")).text(),
                        "listpack"
                    );
                }
            } else {
                compare(&server, &mut loaded, leave_out);
            }
        }
    }
}

#[test]
fn access_is_remembered() {
    let policies = [
        ("allkeys-lru", Access::Lru, "OBJECT IDLETIME"),
        ("allkeys-lfu", Access::Lfu { log_factor: 10, decay_minutes: 1 }, "OBJECT FREQ"),
    ];
    for (policy, access, question) in policies {
        for (server, _) in servers(&["--maxmemory-policy", policy]) {
            let mut client = server.client();
            client.run("RPUSH list a");
            let payload = client.run("DUMP list");
            let Reply::Bulk(payload) = payload else { panic!("DUMP") };
            let word = if policy == "allkeys-lru" { "IDLETIME" } else { "FREQ" };
            let restore = [&b"RESTORE"[..], b"used", b"0", &payload, word.as_bytes(), b"200"];
            assert_eq!(client.call(&Cmd::new(restore)).text(), "OK");
            let source = rdb_of(&server);
            let mut loaded = Loaded::with(now(&server), access);
            loaded.load(&source).unwrap();
            let Reply::Int(remembered) = loaded.run(&format!("{question} used")) else {
                panic!("{question}")
            };
            assert!((199..=202).contains(&remembered), "{question}: {remembered}");
        }
    }
}

fn aof_of(dir: &Path) -> Source {
    find_aof(dir, "appendonlydir", "appendonly.aof").unwrap().expect("it is there")
}

fn rewrite(server: &Server) {
    server.client().run("BGREWRITEAOF");
    wait_until("the AOF is rewritten", || {
        !is_rewriting(&server.client().run("INFO persistence").text())
    });
}

#[test]
fn appended_files() {
    for (preamble, rewrites) in [("yes", true), ("no", true), ("yes", false)] {
        // With everysec what it has answered may be written later, while the file is synced.
        let kept = ["--appendonly", "yes", "--appendfsync", "no"];
        let args = [&kept[..], &["--aof-use-rdb-preamble", preamble]].concat();
        for (server, _) in servers(&args) {
            fill(&mut server.client());
            if rewrites {
                rewrite(&server);
            }
            run_all(&mut server.client(), GO_ON);
            let source = aof_of(&server.dir);
            let Source::Aof(paths) = &source else { panic!("{source:?}") };
            assert_eq!(paths.len(), 2, "{paths:?}");
            let mut loaded = Loaded::at(now(&server));
            let report = loaded.load(&source).unwrap();
            assert_eq!((report.failed, &report.first_failure, &report.torn), (0, &None, &None));
            assert_eq!(server.client().run("DEBUG LOADAOF").text(), "OK");
            compare(&server, &mut loaded, TIMES);
            // Nothing is left of the time at which commands were replayed.
            let shown = loaded.run("XINFO CONSUMERS stream group");
            let Reply::Array(consumers) = &shown else { panic!("{shown:?}") };
            assert_eq!(consumers.len(), 4);
            let Reply::Int(idle) = loaded.run("OBJECT IDLETIME counter") else { panic!() };
            assert!((0..5).contains(&idle), "{idle}");
            one_file(&server, paths, report.progress.keys);
        }
    }
}

/// The same as one file, as Redis before 7 has it: commands alone, or an RDB file with commands behind it.
fn one_file(server: &Server, paths: &[std::path::PathBuf], keys: u64) {
    let dir = server.dir.join("old");
    std::fs::create_dir_all(&dir).unwrap();
    let all: Vec<u8> = paths.iter().flat_map(|path| std::fs::read(path).unwrap()).collect();
    std::fs::write(dir.join("appendonly.aof"), all).unwrap();
    let mut loaded = Loaded::at(now(server));
    let report = loaded.load(&aof_of(&dir)).unwrap();
    assert_eq!(report.progress.keys, keys);
    compare(server, &mut loaded, TIMES);
}
