//! Which effects a command is recorded with: a table, compared with what redis-server writes into its
//! append-only file for the same.

use super::redis::write_data;
use super::registry;
use super::rig::{Rig, commands};
use super::state::{differences, state};
use crate::harness::{Cmd, Reply, Server, parse_line};
use std::fs;

/// Commands, an arrow, and the effects of the last one. After `=>` redis-server 7 writes the same,
/// after `->` something else that leaves the same. A number of 13 digits is some time.
const TABLE: &str = "
SET a 1 => SET a 1
SET a 1 NX => SET a 1 NX
SET a 1; SET a 2 NX =>
SET a 1 XX =>
SET a 1 EX 100 => SET a 1 PXAT TIME
SET a 1 PX 5000 NX GET => SET a 1 PXAT TIME
SET a 1 EXAT 4000000000 => SET a 1 PXAT TIME
SET a 1 PXAT 4000000000000 => SET a 1 PXAT TIME
SET a 1 PXAT 4000000000000 NX ~> SET a 1 PXAT TIME
SET a 1 KEEPTTL => SET a 1 KEEPTTL
SET a 1 GET => SET a 1
SET a 1; SET a 2 KEEPTTL GET => SET a 2 KEEPTTL
SET a 1; SET a 2 XX GET -> SET a 2
SETEX a 100 1 => SET a 1 PXAT TIME
PSETEX a 100000 1 => SET a 1 PXAT TIME
SETNX a 1 => SETNX a 1
SET a 1; SETNX a 2 =>
SET a 1; GETSET a 2 => SET a 2
SET a 1; GETDEL a => DEL a
GETDEL a =>
SET a 1; GETEX a =>
SET a 1; GETEX a EX 100 => PEXPIREAT a TIME
SET a 1; GETEX a PXAT 4000000000000 => PEXPIREAT a TIME
SET a 1; GETEX a EXAT 1 => DEL a
SET a 1; GETEX a PERSIST =>
SET a 1 EX 100; GETEX a PERSIST => PERSIST a
MSET a 1 b 2 => MSET a 1 b 2
MSETNX a 1 b 2 => MSETNX a 1 b 2
SET a 1; MSETNX a 1 b 2 =>
INCR a => INCR a
DECRBY a 3 => DECRBY a 3
INCRBYFLOAT a 1.50 => SET a 1.5 KEEPTTL
APPEND a x => APPEND a x
SETRANGE a 2 x => SETRANGE a 2 x
SETBIT a 7 1 => SETBIT a 7 1
BITFIELD a GET u8 0 =>
BITFIELD a INCRBY u8 0 1 => BITFIELD a INCRBY u8 0 1
SET a x; BITOP NOT b a => BITOP NOT b a
PFADD p x => PFADD p x
PFADD p x; PFADD p x =>
PFADD p x; PFCOUNT p => PFCOUNT p
PFADD p x; PFCOUNT p; PFCOUNT p =>
PFADD p x; PFCOUNT p q =>
PFADD p x; PFMERGE q p => PFMERGE q p
SET a 1; EXPIRE a 100 => PEXPIREAT a TIME
SET a 1; PEXPIRE a 100000 => PEXPIREAT a TIME
SET a 1; EXPIREAT a 4000000000 => PEXPIREAT a TIME
SET a 1; EXPIRE a 100 NX -> PEXPIREAT a TIME
SET a 1; EXPIRE a 100 XX =>
SET a 1; EXPIRE a -1 => DEL a
EXPIRE a 100 =>
SET a 1; PERSIST a =>
SET a 1 EX 100; PERSIST a => PERSIST a
SET a 1; SET b 1; DEL a none b => DEL a none b
DEL none =>
SET a 1; UNLINK a => UNLINK a
SET a 1; RENAME a b => RENAME a b
SET a 1; RENAME a a =>
SET a 1; SET b 1; RENAMENX a b =>
SET a 1; COPY a b DB 1 => COPY a b DB 1
SET a 1; MOVE a 1 => MOVE a 1
SWAPDB 0 1 => SWAPDB 0 1
FLUSHALL => FLUSHALL
FLUSHDB ASYNC => FLUSHDB ASYNC
RPUSH l a b => RPUSH l a b
RPUSHX l a =>
RPUSH l a b; LPOP l => LPOP l
RPUSH l a b; LPOP l 0 =>
RPUSH l a b; LPOP l 1 => LPOP l 1
RPUSH l a b; RPOP l 100 -> RPOP l 2
RPUSH l a; BLPOP k l 0 => LPOP l
RPUSH l a; BRPOP l 0 => RPOP l
RPUSH l a b c; LMPOP 2 k l LEFT COUNT 2 => LPOP l 2
RPUSH l a b c; LMPOP 1 l RIGHT COUNT 9 => RPOP l 3
RPUSH l a b c; BLMPOP 0 2 k l RIGHT => RPOP l 1
RPUSH l a; LMOVE l m LEFT RIGHT => LMOVE l m LEFT RIGHT
RPUSH l a; RPOPLPUSH l m => RPOPLPUSH l m
RPUSH l a; BLMOVE l m LEFT RIGHT 1 => LMOVE l m LEFT RIGHT
RPUSH l a; BRPOPLPUSH l m 1 => RPOPLPUSH l m
RPUSH l 3 1 2; SORT l STORE m -> DEL m | RPUSH m 1 2 3
SORT l STORE m =>
SET m 1; SORT l STORE m -> DEL m
SADD s a b => SADD s a b
SADD s a; SADD s a =>
SADD s a; SPOP s => SREM s a
SADD s a b; SPOP s 5 => DEL s
SADD s a b; SPOP s 0 =>
SADD s a; SMOVE s t a => SMOVE s t a
SADD s a; SMOVE s t b =>
SADD s a; SINTERSTORE t s s => SINTERSTORE t s s
SADD s a; SREM s b =>
ZADD z 1 a => ZADD z 1 a
ZADD z 1 a; ZADD z 1 a =>
ZADD z 1 a; ZADD z INCR 2 a => ZADD z INCR 2 a
ZINCRBY z 2 a => ZINCRBY z 2 a
ZADD z 1 a 2 b; ZPOPMIN z => ZPOPMIN z
ZADD z 1 a 2 b; BZPOPMIN y z 0 => ZPOPMIN z
ZADD z 1 a 2 b; BZPOPMAX z 0 => ZPOPMAX z
ZADD z 1 a 2 b; ZMPOP 2 y z MIN COUNT 9 => ZPOPMIN z 2
ZADD z 1 a 2 b; BZMPOP 0 2 y z MAX => ZPOPMAX z 1
ZADD z 1 a; ZUNIONSTORE y 1 z => ZUNIONSTORE y 1 z
ZADD z 1 a; ZRANGESTORE y z 0 -1 => ZRANGESTORE y z 0 -1
GEOADD g 13.361389 38.115556 a -> GEOADD g 13.361389 38.115556 a
GEOADD g 13.361389 38.115556 a; GEORADIUS g 13 38 200 km STORE h -> DEL h | ZADD h 3479099956230698 a
GEORADIUS g 13 38 200 km STORE h =>
HSET h f v => HSET h f v
HSETNX h f v => HSETNX h f v
HSET h f v; HSETNX h f w =>
HSET h f 1; HINCRBY h f 2 => HINCRBY h f 2
HSET h f 1; HINCRBYFLOAT h f 0.5 => HSET h f 1.5
HSET h f 1; HDEL h f g => HDEL h f g
HDEL h f =>
XADD x 1-1 f v => XADD x 1-1 f v
XADD x * f v => XADD x TIME-0 f v
XADD x 5-* f v => XADD x 5-0 f v
XADD x NOMKSTREAM 5-* f v =>
XADD x 1-1 f v; XADD x MAXLEN 1 2-* f v => XADD x MAXLEN 1 2-0 f v
XADD x 1-1 f v; XADD x MAXLEN ~ 1 2-1 f v => XADD x MAXLEN = 2 2-1 f v
XADD x 1-1 f v; XADD x NOMKSTREAM MINID ~ 1 LIMIT 3 2-* f v -> XADD x NOMKSTREAM MAXLEN = 2 2-0 f v
XADD x 1-1 f v; XTRIM x MAXLEN 0 => XTRIM x MAXLEN 0
XADD x 1-1 f v; XTRIM x MINID ~ 2 LIMIT 0 -> XTRIM x MAXLEN = 0
XADD x 1-1 f v; XTRIM x MAXLEN ~ 5 =>
XADD x 1-1 f v; XDEL x 1-1 => XDEL x 1-1
XADD x 1-1 f v; XSETID x 5-5 => XSETID x 5-5
XGROUP CREATE x g $ MKSTREAM => XGROUP CREATE x g $ MKSTREAM
XGROUP CREATE x g 0 MKSTREAM; XGROUP CREATECONSUMER x g c => XGROUP CREATECONSUMER x g c
XGROUP CREATE x g 0 MKSTREAM; XGROUP SETID x g 0 => XGROUP SETID x g 0
XGROUP CREATE x g 0 MKSTREAM; XREADGROUP GROUP g c STREAMS x > -> XGROUP CREATECONSUMER x g c
XGROUP CREATE x g 0 MKSTREAM; XADD x 1-1 f v; XADD x 2-1 f v; XREADGROUP GROUP g c STREAMS x > -> XGROUP CREATECONSUMER x g c | XCLAIM x g c 0 1-1 2-1 TIME TIME RETRYCOUNT 1 FORCE JUSTID LASTID 2-1 | XGROUP SETID x g 2-1 ENTRIESREAD 2
XGROUP CREATE x g 0 MKSTREAM; XGROUP CREATECONSUMER x g c; XADD x 1-1 f v; XREADGROUP GROUP g c STREAMS x > ~> XCLAIM x g c 0 1-1 TIME TIME RETRYCOUNT 1 FORCE JUSTID LASTID 1-1 | XGROUP SETID x g 1-1 ENTRIESREAD 1
XGROUP CREATE x g 0 MKSTREAM; XGROUP CREATECONSUMER x g c; XADD x 1-1 f v; XREADGROUP GROUP g c NOACK STREAMS x > => XGROUP SETID x g 1-1 ENTRIESREAD 1
XGROUP CREATE x g 0 MKSTREAM; XADD x 1-1 f v; XREADGROUP GROUP g c STREAMS x >; XREADGROUP GROUP g c STREAMS x 0 -> XCLAIM x g c 0 1-1 TIME TIME RETRYCOUNT 2 FORCE JUSTID LASTID 1-1
XGROUP CREATE x g 0 MKSTREAM; XADD x 1-1 f v; XREADGROUP GROUP g c STREAMS x >; XREADGROUP GROUP g c STREAMS x 1-1 =>
XGROUP CREATE x g 0 MKSTREAM; XADD x 1-1 f v; XREADGROUP GROUP g c STREAMS x >; XACK x g 1-1 => XACK x g 1-1
XGROUP CREATE x g 0 MKSTREAM; XGROUP CREATECONSUMER x g d; XADD x 1-1 f v; XREADGROUP GROUP g c STREAMS x >; XCLAIM x g d 0 1-1 => XCLAIM x g d 0 1-1 TIME TIME RETRYCOUNT 2 FORCE JUSTID LASTID 1-1
XGROUP CREATE x g 0 MKSTREAM; XGROUP CREATECONSUMER x g d; XADD x 1-1 f v; XREADGROUP GROUP g c STREAMS x >; XAUTOCLAIM x g d 0 0 => XCLAIM x g d 0 1-1 TIME TIME RETRYCOUNT 2 FORCE JUSTID LASTID 1-1
XGROUP CREATE x g 0 MKSTREAM; XGROUP CREATECONSUMER x g d; XADD x 1-1 f v; XREADGROUP GROUP g c STREAMS x >; XDEL x 1-1; XAUTOCLAIM x g d 0 0 -> XACK x g 1-1
XGROUP CREATE x g 0 MKSTREAM; XGROUP CREATECONSUMER x g d; XADD x 1-1 f v; XCLAIM x g d 0 1-1 LASTID 1-1 => XGROUP SETID x g 1-1 ENTRIESREAD -1
";

/// Fields that expire, which redis-server 7 does not know.
const FIELDS: &str = "
HSET h f 1; HEXPIRE h 100 FIELDS 2 f g -> HPEXPIREAT h TIME FIELDS 1 f
HSET h f 1; HPEXPIRE h 100000 NX FIELDS 1 f -> HPEXPIREAT h TIME FIELDS 1 f
HSET h f 1 g 1; HEXPIREAT h 1 FIELDS 1 f -> HDEL h f
HSET h f 1; HEXPIRE h 100 XX FIELDS 1 f ->
HSET h f 1; HPERSIST h FIELDS 1 f ->
HSETEX h EX 100 FIELDS 1 f 1; HPERSIST h FIELDS 2 f g -> HPERSIST h FIELDS 1 f
HSET h f 1; HGETEX h EX 100 FIELDS 2 g f -> HPEXPIREAT h TIME FIELDS 1 f
HSET h f 1 g 1; HGETEX h PXAT 1 FIELDS 1 f -> HDEL h f
HSETEX h EX 100 FIELDS 1 f 1; HGETEX h PERSIST FIELDS 1 f -> HPERSIST h FIELDS 1 f
HSET h f 1; HGETEX h FIELDS 1 f ->
HSETEX h NX FNX EX 100 FIELDS 2 f 1 g 2 -> HSETEX h PXAT TIME FIELDS 2 f 1 g 2
HSETEX h FIELDS 1 f 1 -> HSET h f 1
HSETEX h EX 100 FIELDS 1 f 1; HSETEX h FXX KEEPTTL FIELDS 1 f 2 -> HSETEX h KEEPTTL FIELDS 1 f 2
HSET h f 1 g 1; HSETEX h EXAT 1 FIELDS 1 f 2 -> HDEL h f
HSETEX h EXAT 1 FIELDS 1 f 2 ->
HSET h f 1 g 1; HGETDEL h FIELDS 2 f x -> HDEL h f x
HSETEX h EX 100 FIELDS 1 f 1; HINCRBYFLOAT h f 0.5 -> HSETEX h KEEPTTL FIELDS 1 f 1.5
HSETEX h EX 100 FIELDS 1 f 1; HINCRBY h f 1 -> HINCRBY h f 1
HSETEX h PX 5 FIELDS 1 f 1; HSET h g 1; WAIT; HINCRBY h f 1 -> HSET h f 1
HSETEX h PX 5 FIELDS 1 f 1; HSET h g 1; WAIT; HSETNX h f 1 -> HSET h f 1
HSETEX h PX 5 FIELDS 1 f 1; HSET h g 1; WAIT; HSETEX h KEEPTTL FIELDS 1 f 1 -> HDEL h f | HSETEX h KEEPTTL FIELDS 1 f 1
HSETEX h PX 5 FIELDS 1 f 1; HSET h g 1; WAIT; HDEL h f -> HDEL h f
HSETEX h PX 5 FIELDS 1 f 1; HSET h g 1; WAIT; HDEL h x ->
HSETEX h PX 5 FIELDS 1 f 1; HSET h g 1; WAIT; CYCLE -> HDEL h f
HSETEX h PX 5 FIELDS 1 f 1; WAIT; CYCLE -> DEL h
HSETEX h PX 5 FIELDS 1 f 1; WAIT; HSETNX h g 1 -> DEL h | HSETNX h g 1
SET a 1 PX 5; WAIT; GET a -> DEL a
SET a 1 PX 5; WAIT; INCR a -> DEL a | INCR a
SET a 1 PX 5; WAIT; SET a 2 -> DEL a | SET a 2
SET a 1 PX 5; WAIT; CYCLE -> DEL a
SADD s a; EXPIRE s -1 -> DEL s
";

struct Line {
    setup: Vec<Cmd>,
    command: Cmd,
    effects: String,
    /// Whether redis-server writes the same, if all versions agree.
    same_in_redis: Option<bool>,
}

fn lines(table: &str) -> impl Iterator<Item = Line> {
    table.lines().filter(|line| !line.is_empty()).map(|line| {
        const ARROWS: [(&str, Option<bool>); 3] =
            [("=>", Some(true)), ("->", Some(false)), ("~>", None)];
        let split = |(arrow, same)| Some((line.split_once(arrow)?, same));
        let found = ARROWS.into_iter().find_map(split);
        let ((run, effects), same_in_redis) = found.unwrap_or_else(|| panic!("no arrow in {line}"));
        let mut setup: Vec<Cmd> = run.split(';').map(|text| parse_line(text.trim())).collect();
        let command = setup.pop().expect("a command before the arrow");
        Line { setup, command, effects: effects.trim().to_string(), same_in_redis }
    })
}

/// Effects as the table writes them, without what only frames them.
fn shown(effects: &[Cmd]) -> String {
    let is_frame = |cmd: &&Cmd| matches!(cmd.name().as_str(), "MULTI" | "EXEC" | "SELECT");
    let word = |word: &Vec<u8>| {
        let text = String::from_utf8_lossy(word).into_owned();
        let is_time = |part: &str| part.len() == 13 && part.bytes().all(|b| b.is_ascii_digit());
        match text.split_once('-') {
            Some((ms, rest)) if is_time(ms) => format!("TIME-{rest}"),
            _ if is_time(&text) => "TIME".to_string(),
            _ => text,
        }
    };
    let words = |cmd: &Cmd| cmd.0.iter().map(word).collect::<Vec<_>>().join(" ");
    effects.iter().filter(|cmd| !is_frame(cmd)).map(words).collect::<Vec<_>>().join(" | ")
}

fn perform(rig: &mut Rig, cmd: &Cmd) {
    match cmd.name().as_str() {
        "WAIT" => rig.now += 10,
        "CYCLE" => {
            rig.shard.expire_cycle(rig.now, &mut || false);
        }
        _ => {
            let reply = rig.run(cmd).unwrap_or_else(|| panic!("{cmd:?} is answered"));
            assert!(!reply.is_error(), "{cmd:?}: {reply:?}");
        }
    }
}

#[test]
fn each_command_has_its_effects() {
    let (registry, mut wrong) = (registry(), Vec::new());
    for line in lines(TABLE).chain(lines(FIELDS)) {
        let mut rig = Rig::recording(&registry, 1, 1);
        rig.now = 1_700_000_000_000;
        line.setup.iter().for_each(|cmd| perform(&mut rig, cmd));
        rig.recorded();
        perform(&mut rig, &line.command);
        let effects = shown(&commands(&rig.recorded()));
        if effects != line.effects {
            wrong.push(format!("{:?}; {:?}: {effects}", line.setup, line.command));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Bytes in the place of `@`.
fn with_bytes(line: &str, bytes: &[u8]) -> Cmd {
    let word = |word: Vec<u8>| if word == b"@" { bytes.to_vec() } else { word };
    Cmd(parse_line(line).0.into_iter().map(word).collect())
}

#[test]
fn values_are_restored_at_absolute_times() {
    let mut rig = Rig::recording(&registry(), 1, 1);
    rig.now = 1_700_000_000_000;
    perform(&mut rig, &parse_line("SET a value"));
    let Some(Reply::Bulk(payload)) = rig.run(&parse_line("DUMP a")) else { panic!("no payload") };
    for (line, effects) in [
        ("RESTORE k 0 @", "RESTORE k 0 @"),
        ("RESTORE k 5000 @ REPLACE IDLETIME 7", "RESTORE k TIME @ REPLACE ABSTTL IDLETIME 7"),
        ("RESTORE k 1700000000900 @ REPLACE ABSTTL", "RESTORE k TIME @ REPLACE ABSTTL"),
        ("RESTORE-ASKING k 9 @ REPLACE FREQ 3", "RESTORE k TIME @ REPLACE ABSTTL FREQ 3"),
        ("RESTORE k 1 @ REPLACE ABSTTL", "DEL k"),
        ("RESTORE k 1 @ REPLACE ABSTTL", ""),
    ] {
        rig.recorded();
        perform(&mut rig, &with_bytes(line, &payload));
        let mut found = commands(&rig.recorded());
        for cmd in &mut found {
            cmd.0
                .iter_mut()
                .filter(|word| **word == payload)
                .for_each(|word| *word = b"@".to_vec());
        }
        assert_eq!(shown(&found), effects, "{line}");
    }
    // Fields whose time is over do not come back when there is no clock.
    perform(&mut rig, &parse_line("HSETEX h PX 5 FIELDS 1 f 1"));
    perform(&mut rig, &parse_line("HSET h g 1"));
    let Some(Reply::Bulk(payload)) = rig.run(&parse_line("DUMP h")) else { panic!("no payload") };
    rig.now += 10;
    rig.recorded();
    perform(&mut rig, &with_bytes("RESTORE new 0 @", &payload));
    let mut again = Rig::replaying(&registry(), 2);
    again.replay(&rig.recorded());
    assert_eq!(again.run(&parse_line("HLEN new")), Some(Reply::Int(1)));
}

#[test]
fn what_fails_half_way_is_recorded_by_what_it_has_left() {
    let mut rig = Rig::recording(&registry(), 1, 1);
    // Registers that do not add up, which is found out when there get to be too many of them.
    let corrupt = b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\x80\xc4\x9b@\xc3\x1d\x8d@\xe8~%";
    perform(&mut rig, &with_bytes("SET k @", corrupt));
    let mut recorded = rig.recorded();
    let elements = (0..5000).map(|n| format!("element:{n}"));
    let words = ["PFADD".to_string(), "k".to_string()].into_iter().chain(elements);
    let reply = rig.run(&Cmd::new(words.collect::<Vec<_>>())).expect("an answer");
    assert!(
        reply.is_error()
            && rig.run(&with_bytes("GET k", b"")) != Some(Reply::Bulk(corrupt.to_vec()))
    );
    let effects = rig.recorded();
    assert!(shown(&commands(&effects)).starts_with("RESTORE k 0 "));
    recorded.extend(effects);
    let mut again = Rig::replaying(&registry(), 2);
    again.replay(&recorded);
    assert!(differences(&state(&mut rig, true), &state(&mut again, true)).is_empty());
}

#[test]
fn what_names_very_much_is_several_commands() {
    let mut rig = Rig::recording(&registry(), 1, 1);
    for n in 0..50 {
        let members = (0..100).map(|m| format!("member:{n}:{m}"));
        let words = ["SADD".to_string(), "s".to_string()].into_iter().chain(members);
        perform(&mut rig, &Cmd::new(words.collect::<Vec<_>>()));
    }
    let mut recorded = rig.recorded();
    perform(&mut rig, &parse_line("SPOP s 3000"));
    let popped = rig.recorded();
    let lengths: Vec<usize> = commands(&popped).iter().map(|cmd| cmd.0.len() - 2).collect();
    assert_eq!(lengths, [1024, 1024, 952]);
    recorded.extend(popped);
    let mut again = Rig::replaying(&registry(), 2);
    again.replay(&recorded);
    assert!(differences(&state(&mut rig, true), &state(&mut again, true)).is_empty());
}

#[test]
fn a_redis_server_records_the_same() {
    let dir = std::env::temp_dir().join(format!("corelane-effects-{}-table", std::process::id()));
    write_data(&dir, b"");
    let file = dir.join("appendonlydir/appendonly.aof.1.incr.aof");
    let path = dir.display().to_string();
    let server =
        Server::redis_with(&["--appendonly", "yes", "--appendfsync", "no", "--dir", &path]);
    let (mut client, mut wrong) = (server.client(), Vec::new());
    for line in lines(TABLE) {
        client.run("SELECT 1");
        client.run("FLUSHALL");
        client.run("SELECT 0");
        line.setup.iter().for_each(|cmd| drop(client.call(cmd)));
        let before = fs::metadata(&file).expect("a file").len() as usize;
        client.call(&line.command);
        client.run("PING");
        let written = fs::read(&file).expect("a file").split_off(before);
        let effects = shown(&commands(&written));
        if line.same_in_redis.is_some_and(|same| same != (effects == line.effects)) {
            wrong.push(format!("{:?}; {:?}: {effects}", line.setup, line.command));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    drop((client, server));
    fs::remove_dir_all(dir).expect("the directory goes");
}
