//! A redis-server and a Corelane side by side: each command goes to both, the replies are compared.

use super::chance::is_random;
use super::compare::{OracleAge, ordered, same};
use super::fields::is_of_fields;
use super::process::is_stand_in;
use super::script::{Cmd, parse_script};
use super::{Client, Reply, Server};
use std::fmt::Write as _;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    Resp2,
    Resp3,
}

/// Every way in which the scripted sequences run.
const WAYS: [(usize, Protocol); 4] =
    [(1, Protocol::Resp2), (1, Protocol::Resp3), (3, Protocol::Resp2), (3, Protocol::Resp3)];

/// The two servers.
pub struct Pair {
    pub redis: Server,
    pub corelane: Server,
    pub shards: usize,
    pub age: OracleAge,
}

/// A connection to each of the two.
pub struct Both<'p> {
    pub redis: Client,
    pub corelane: Client,
    pub(super) pair: &'p Pair,
    /// SORT has run, which has redis-server store any sorted set that it reads as a big one.
    sorts: bool,
}

/// Where and how two runs parted.
#[derive(Debug)]
pub struct Difference {
    pub step: usize,
    pub redis: String,
    pub corelane: String,
    pub why: String,
}

impl Pair {
    pub fn start(shards: usize, args: &[&str]) -> Pair {
        Pair::with_oracle(Server::redis_with(args), shards, args)
    }

    /// A Corelane with another server as the norm.
    pub fn with_oracle(oracle: Server, shards: usize, args: &[&str]) -> Pair {
        let mut pair = Pair {
            redis: oracle,
            corelane: Server::corelane_with(shards, args),
            shards,
            age: OracleAge::Current,
        };
        pair.age = age(&pair.redis, &pair.corelane);
        pair
    }

    /// Two servers with the password `secret`, which nobody has given yet.
    pub fn start_with_password() -> Pair {
        let args = ["--requirepass", "secret"];
        let (redis, corelane) = (Server::redis_with(&args), Server::corelane_with(3, &args));
        Pair { redis, corelane, shards: 3, age: OracleAge::Older }
    }

    /// A fresh connection to both, in the protocol wanted, over empty databases.
    pub fn connect(&self, protocol: Protocol) -> Both<'_> {
        let (redis, corelane) = (self.redis.client(), self.corelane.client());
        let mut both = Both { redis, corelane, pair: self, sorts: false };
        for client in [&mut both.redis, &mut both.corelane] {
            assert_eq!(client.run("FLUSHALL").text(), "OK");
            if protocol == Protocol::Resp3 {
                assert_eq!(client.run("HELLO 3").field("proto"), Some(&Reply::Int(3)));
            }
        }
        both
    }
}

impl Both<'_> {
    /// Runs one command on both and compares; the reply is redis-server's.
    pub fn step(&mut self, step: usize, cmd: &Cmd) -> Result<Reply, Difference> {
        if is_whole_scan(cmd) {
            return self.whole_scan(step, cmd);
        }
        if is_random(cmd) {
            return self.choose(step, cmd);
        }
        if let Some(verdict) = self.scored(step, cmd) {
            return verdict;
        }
        let in_tables = self.corelane.script.is_some_and(|script| script.contains("setresp"));
        if is_of_fields(cmd) && !(in_tables && cmd.name() == "HGETALL") {
            return self.fields(step, cmd);
        }
        let redis = self.redis.call(cmd);
        let corelane = match self.corelane.send(cmd).and_then(|()| self.corelane.recv()) {
            Ok(reply) => reply,
            Err(e) => return Err(difference(step, &redis, &format!("({e})"), "no reply")),
        };
        if let (true, Reply::Bulk(key)) = (cmd.name() == "RANDOMKEY", &corelane) {
            let exists = self.corelane.call(&Cmd::new([b"EXISTS".as_slice(), key]));
            if exists != Reply::Int(1) {
                return Err(difference(step, &redis, &format!("{corelane:?}"), "no such key"));
            }
        }
        self.check(step, cmd, redis, &corelane)
    }

    /// Compares two replies that were read already.
    pub(super) fn check(
        &mut self,
        at: usize,
        cmd: &Cmd,
        redis: Reply,
        ours: &Reply,
    ) -> Result<Reply, Difference> {
        self.sorts |= cmd.name().starts_with("SORT");
        if self.sorts && is_sorted_set_left_small(cmd, &redis, ours) {
            return Ok(redis);
        }
        // A script's tables have no order.
        let loose = self.corelane.script.is_some().then(|| (ordered(&redis), ordered(ours)));
        let (theirs, own) = loose.as_ref().map_or((&redis, ours), |(a, b)| (a, b));
        if let Err(why) = same(cmd, self.pair.age, theirs, own) {
            return Err(difference(at, &redis, &format!("{ours:?}"), &why));
        }
        Ok(redis)
    }

    /// Runs a program command by command.
    pub fn sequence(&mut self, program: &[Cmd]) -> Result<(), Difference> {
        for (step, cmd) in program.iter().enumerate() {
            self.step(step, cmd)?;
        }
        Ok(())
    }

    /// Sends a program as one stream, cut into the given pieces of its bytes, and compares all
    /// replies in their order.
    pub fn pipelined(&mut self, program: &[Cmd], cuts: &[usize]) -> Result<(), Difference> {
        let mut bytes = Vec::new();
        program.iter().for_each(|c| c.encode(&mut bytes));
        let mut cuts: Vec<usize> = cuts.iter().map(|c| c % (bytes.len() + 1)).collect();
        cuts.sort_unstable();
        let mut pieces = Vec::new();
        let mut from = 0;
        for cut in cuts.into_iter().chain([bytes.len()]) {
            pieces.push(&bytes[from..cut]);
            from = cut;
        }
        let redis = self.redis.stream_in(&pieces, program.len()).expect("redis-server replies");
        let ours = self.corelane.stream_in(&pieces, program.len());
        let ours = ours.map_err(|e| Difference {
            step: 0,
            redis: format!("{} replies", redis.len()),
            corelane: e.to_string(),
            why: "not as many whole replies as commands".into(),
        })?;
        for (step, cmd) in program.iter().enumerate() {
            if has_met_old_errno(cmd, &redis[step], &ours[step]) {
                // With STORE the two hold different things from here on.
                return Ok(());
            }
            self.check(step, cmd, redis[step].clone(), &ours[step])?;
        }
        Ok(())
    }

    /// Runs a script of redis-cli lines; panics at the first difference.
    pub fn script(&mut self, script: &str) {
        let program = parse_script(script);
        if let Err(d) = self.sequence(&program) {
            panic!("{}", report(&program, &d, self.pair.shards));
        }
    }

    pub fn redis_port(&self) -> u16 {
        self.pair.redis.port
    }

    pub fn corelane_port(&self) -> u16 {
        self.pair.corelane.port
    }

    /// SCAN from cursor 0 until the cursor is 0 again, as one set of keys; errors as they are.
    fn whole_scan(&mut self, step: usize, cmd: &Cmd) -> Result<Reply, Difference> {
        let redis = scan(&mut self.redis, cmd);
        let ours = scan(&mut self.corelane, cmd);
        match ordered(&redis) == ordered(&ours) {
            true => Ok(redis),
            false => Err(difference(step, &redis, &format!("{ours:?}"), "not the same keys")),
        }
    }
}

fn age(redis: &Server, corelane: &Server) -> OracleAge {
    let oracle = version(redis);
    assert!(oracle >= (7, 0), "the oracle must be redis-server 7.0 or later, not {oracle:?}");
    // A stand-in for Corelane may be as old as the oracle.
    let older = oracle < (7, 2) && !(is_stand_in() && version(corelane) < (7, 2));
    if older { OracleAge::Older } else { OracleAge::Current }
}

/// Major and minor version of a running server.
fn version(server: &Server) -> (u32, u32) {
    let text = server.info("redis_version").expect("INFO has redis_version");
    let mut parts = text.split('.').map(|p| p.parse::<u32>().expect("a numeric version"));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

/// Whether redis-server's SORT has taken a number for out of range because a number of an earlier
/// command was: it looks at `errno` without having reset it. That shows only in a pipeline, where no
/// system call is made between the two commands.
fn has_met_old_errno(cmd: &Cmd, redis: &Reply, ours: &Reply) -> bool {
    let out_of_range = b"ERR One or more scores can't be converted into double";
    matches!(cmd.name().as_str(), "SORT" | "SORT_RO")
        && *redis == Reply::Error(out_of_range.to_vec())
        && !ours.is_error()
}

/// Whether only redis-server names a sorted set's big encoding.
fn is_sorted_set_left_small(cmd: &Cmd, redis: &Reply, ours: &Reply) -> bool {
    let is =
        |reply: &Reply, encoding: &[u8]| matches!(reply, Reply::Bulk(name) if name == encoding);
    cmd.upper(1) == "ENCODING" && is(redis, b"skiplist") && is(ours, b"listpack")
}

/// Where the cursor of a command that walks is.
fn cursor_index(cmd: &Cmd) -> Option<usize> {
    match cmd.name().as_str() {
        "SCAN" => Some(1),
        "SSCAN" => Some(2),
        _ => None,
    }
}

fn is_whole_scan(cmd: &Cmd) -> bool {
    cursor_index(cmd).and_then(|at| cmd.0.get(at)).is_some_and(|cursor| cursor == b"0")
}

fn scan(client: &mut Client, cmd: &Cmd) -> Reply {
    let mut cmd = cmd.clone();
    let at = cursor_index(&cmd).expect("a command that walks");
    let mut keys = std::collections::BTreeSet::new();
    for _ in 0..100_000 {
        let reply = client.call(&cmd);
        let Reply::Array(parts) = &reply else { return reply };
        let [Reply::Bulk(cursor), Reply::Array(page)] = &parts[..] else { return reply };
        keys.extend(page.iter().cloned());
        if cursor == b"0" {
            return Reply::Set(keys.into_iter().collect());
        }
        cmd.0[at] = cursor.clone();
    }
    panic!("{cmd:?} never comes to an end");
}

pub(super) fn difference(step: usize, redis: &Reply, corelane: &str, why: &str) -> Difference {
    let (redis, corelane) = (format!("{redis:?}"), corelane.to_string());
    Difference { step, redis, corelane, why: why.to_string() }
}

/// The text of a failure: the program as redis-cli lines, and both replies.
pub fn report(program: &[Cmd], d: &Difference, shards: usize) -> String {
    let mut text = format!("\n--- with {shards} shard(s), at line {}: {}\n", d.step + 1, d.why);
    for cmd in program.iter().take(d.step + 1) {
        let _ = writeln!(text, "{cmd:?}");
    }
    let _ = write!(text, "--- redis-server: {}\n--- corelane:     {}\n", d.redis, d.corelane);
    text
}

/// Runs a script against fresh pairs with one shard and with three, in RESP2 and in RESP3.
pub fn everywhere(script: &str) {
    everywhere_with(&[], |both| both.script(script));
}

/// Runs a test against fresh pairs with one shard and with three, in RESP2 and in RESP3.
pub fn everywhere_with(args: &[&str], test: impl Fn(&mut Both)) {
    let mut pair: Option<Pair> = None;
    for (shards, protocol) in WAYS {
        if pair.as_ref().is_none_or(|p| p.shards != shards) {
            pair = Some(Pair::start(shards, args));
        }
        test(&mut pair.as_ref().expect("set above").connect(protocol));
    }
}
