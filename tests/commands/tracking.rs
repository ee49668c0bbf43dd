//! Client tracking: scripts of several clients, the same on redis-server and here; who is told when
//! clients, keys and writers are on different shards.

use crate::harness::client::Client;
use crate::harness::turns::{agree, agree_in_order};
use crate::harness::{Cmd, Reply, Rng, Server, cases, parse_line};
use std::collections::HashMap;
use std::time::Duration;

#[test]
fn readers_are_told_once() {
    agree_in_order(
        "0 HELLO 3
        0 CLIENT TRACKING ON
        1 SET k 1
        0 GET k
        0 GET none
        1 SET k 2
        0 =1
        1 SET k 3
        1 SET none 1
        0 =1
        0 MGET k l m n =1
        1 DEL k l
        0 =1
        1 RPUSH l a b c
        0 =1
        0 LRANGE l 0 -1
        1 LPOP l
        0 =1
        0 EXISTS l m
        1 RENAME l m
        0 =2
        0 TTL m
        1 EXPIRE m 100
        0 =1
        0 TYPE m
        1 PERSIST m
        0 =1
        0 LLEN m
        1 DEL m
        0 =1
        0 STRLEN k
        1 SELECT 3
        1 SET k other
        0 =1
        0 CLIENT TRACKING OFF
        0 GET k
        1 SET k 5",
    );
}

#[test]
fn what_does_not_change_is_not_told() {
    agree(
        "0 HELLO 3
        0 CLIENT TRACKING ON
        1 MSET a 1 b 2 c 3
        1 SADD s x
        0 MGET a b c
        0 SMEMBERS s
        1 GET a
        1 SETNX a 5
        1 SADD s x
        1 SREM s y
        1 EXPIRE none 10
        1 PERSIST a
        1 COPY a b
        1 RENAMENX a b
        1 INCR nothing-read
        1 OBJECT FREQ a
        1 TOUCH a b c",
    );
}

#[test]
fn ones_own_changes_come_behind_the_reply() {
    agree_in_order(
        "0 HELLO 3
        0 CLIENT TRACKING ON
        0 GET k
        0 SET k 1 =2
        0 MGET a{t} b{t} c{t}
        0 DEL a{t} b{t} c{t}
        0 MSET a{t} 1 b{t} 2 c{t} 3 =4
        0 MGET a b c
        0 SET b 1 =2
        0 FLUSHALL =2
        0 GET a
        0 MULTI
        0 SET a 1
        0 GET b
        0 EXEC =2
        0 HSET h f 1
        0 HGET h f
        0 HDEL h f =2
        0 GET x
        0 RPUSH x 1 =2
        0 LRANGE x 0 -1
        0 LMOVE x y LEFT RIGHT =2
        0 MULTI
        0 FLUSHDB
        0 EXEC =2
        0 GET a
        0 CLIENT REPLY OFF =0
        0 SET a 1 =1
        0 CLIENT REPLY ON",
    );
}

#[test]
fn noloop_leaves_out_ones_own() {
    agree(
        "0 HELLO 3
        0 CLIENT TRACKING ON NOLOOP
        0 MGET k l
        0 SET k 1
        1 SET k 2
        1 SET l 2
        0 =1
        0 GET l
        1 DEL l
        0 =1
        1 SET e 1 PX 1
        0 GET l
        0 RENAME l m
        0 MULTI
        0 SET m 1
        0 EXEC
        0 GET m
        0 FLUSHALL =2",
    );
}

#[test]
fn blocks_tell_what_they_have_changed() {
    // The keys are on one shard, on several; with a watched key and with a command that wants them together.
    for middle in ["", "1 WATCH w", "1 RENAME k r", "1 MULTI"] {
        agree(&format!(
            "0 HELLO 3
            0 CLIENT TRACKING ON
            1 MSET k 1 l 2 m 3
            0 MGET k l m n r w
            {middle}
            1 MULTI
            1 SET k 2
            1 DEL l
            1 SET m 5
            1 EXEC
            0 =3",
        ));
    }
    agree(
        "0 HELLO 3
        0 CLIENT TRACKING ON
        1 MSET k 1 l 2 m 3
        0 MULTI
        0 GET k
        0 GET l
        0 MGET m n
        0 EXEC
        1 MULTI
        1 SET k 2
        1 RENAME l o
        1 DBSIZE
        1 MSET m 1 n 2
        1 EXEC
        0 =4
        0 MULTI
        0 GET k
        0 DBSIZE
        0 GET o
        0 EXEC
        1 MSET k 1 o 2
        0 =2",
    );
}

#[test]
fn caching_chooses_what_is_tracked() {
    agree(
        "0 HELLO 3
        0 CLIENT TRACKING ON OPTIN
        0 GET a
        1 SET a 1
        0 CLIENT CACHING YES
        0 GET a
        0 GET b
        1 MSET a 2 b 2
        0 =1
        0 CLIENT CACHING YES
        0 CLIENT GETNAME
        0 CLIENT TRACKINGINFO
        0 GET a
        0 CLIENT TRACKINGINFO
        1 SET a 3
        0 =1
        0 CLIENT CACHING YES
        0 MULTI
        0 GET a
        0 GET b
        0 EXEC
        0 GET c
        1 MSET a 1 b 2 c 3
        0 =2
        0 CLIENT CACHING YES
        0 PING
        0 GET a
        0 CLIENT CACHING YES
        0 NOSUCHCOMMAND
        0 GET b
        1 MSET a 1 b 2
        0 CLIENT CACHING NO
        0 CLIENT CACHING MAYBE
        0 CLIENT TRACKING ON OPTOUT
        0 CLIENT TRACKING OFF
        0 CLIENT CACHING YES
        0 CLIENT TRACKING ON OPTOUT
        0 GET a
        0 CLIENT CACHING NO
        0 GET b
        1 MSET a 1 b 2
        0 =1
        0 MULTI
        0 CLIENT CACHING NO
        0 GET a
        0 EXEC
        0 GET b
        1 MSET a 1 b 2
        0 =1",
    );
}

#[test]
fn prefixes_are_followed() {
    agree(
        "0 HELLO 3
        0 CLIENT TRACKING ON BCAST PREFIX a PREFIX b
        1 SET a1 x
        0 =1
        1 SET b1 x
        0 =1
        1 SET c x
        0 CLIENT TRACKING ON BCAST PREFIX c
        1 SET c x
        0 =1
        0 CLIENT TRACKINGINFO
        0 CLIENT TRACKING ON BCAST PREFIX cc
        0 CLIENT TRACKING ON
        0 CLIENT TRACKING ON BCAST OPTIN
        0 SET a2 x =2
        0 CLIENT TRACKING ON BCAST NOLOOP
        0 SET a3 x
        1 DEL a2
        0 =2
        2 HELLO 3
        2 CLIENT TRACKING ON BCAST
        1 SET a4 1
        0 =2
        2 =1
        0 CLIENT TRACKING OFF
        1 SET a5 x
        2 =1
        2 RESET
        1 SET a6 1
        0 CLIENT TRACKINGINFO
        2 CLIENT TRACKINGINFO",
    );
}

#[test]
fn another_client_is_told_instead() {
    agree(
        "1 SUBSCRIBE __redis__:invalidate
        0 CLIENT TRACKING ON REDIRECT <1>
        2 SET k 1
        0 GET k
        2 SET k 2
        1 =1
        0 GET k
        0 SET k 3
        1 =1
        0 GET k
        2 FLUSHALL
        1 =1
        0 CLIENT TRACKING OFF
        0 CLIENT TRACKING ON BCAST REDIRECT <1> PREFIX k
        2 SET k1 1
        1 =1
        3 HELLO 3
        3 CLIENT TRACKING ON REDIRECT <1>
        3 GET x
        2 DEL x
        2 SET x 1
        1 =1
        0 CLIENT TRACKING ON REDIRECT 123456
        0 CLIENT TRACKING ON REDIRECT <1> REDIRECT <2>
        0 CLIENT TRACKING ON REDIRECT 123456 REDIRECT x
        0 CLIENT TRACKING ON REDIRECT 123456 NONSENSE
        0 CLIENT TRACKING ON NONSENSE REDIRECT 123456
        0 CLIENT TRACKING ON REDIRECT x
        0 CLIENT TRACKING OFF
        0 CLIENT TRACKING ON REDIRECT <3>
        0 GET y
        2 SET y 1
        3 =1
        0 CLIENT TRACKING ON REDIRECT <0>
        0 GET y
        2 SET y 2",
    );
}

#[test]
fn who_redirects_is_told_that_nobody_is_there() {
    // The invalidation of the first SET passes two shards: there is time for that before 1 can be told.
    agree(
        "0 HELLO 3
        1 SUBSCRIBE __redis__:invalidate
        0 CLIENT TRACKING ON REDIRECT <1>
        0 GET k
        1 UNSUBSCRIBE
        2 SET k 0
        1 GET k
        2 GET k
        1 GET k
        2 GET k
        1 GET k
        1 HELLO 3
        0 GET k
        2 SET k 1
        1 =1
        0 GET k
        2 SET k 2
        1 =1",
    );
    for shards in [1, 3] {
        let server = Server::corelane(shards);
        let (mut tracker, mut target) = (server.client(), server.client());
        let mut writer = server.client();
        let id = target.run("CLIENT ID").int();
        tracker.run("HELLO 3");
        tracker.run(&format!("CLIENT TRACKING ON REDIRECT {}", id));
        assert_eq!(tracker.run("CLIENT GETREDIR").int(), id);
        assert!(tracker.run("CLIENT INFO").text().contains(&format!("redir={} ", id)));
        tracker.run("GET k");
        target.run("QUIT");
        writer.run("SET k 1");
        let broken = tracker.recv().expect("it is told");
        let bulk = |text: &str| Reply::Bulk(text.as_bytes().to_vec());
        assert_eq!(broken, Reply::Push(vec![bulk("tracking-redir-broken"), Reply::Int(id)]));
        assert!(tracker.run("CLIENT INFO").text().contains("flags=tR "));
        assert!(format!("{:?}", tracker.run("CLIENT TRACKINGINFO")).contains("broken_redirect"));
        assert!(matches!(tracker.run("CLIENT TRACKING ON REDIRECT 1234567"), Reply::Error(_)));
    }
}

#[test]
fn expiry_tells_also_those_who_want_nothing_of_their_own() {
    for shards in [1, 3] {
        let server = Server::corelane(shards);
        let (mut lazy, mut writer) = (server.client(), server.client());
        lazy.run("HELLO 3");
        lazy.run("CLIENT TRACKING ON NOLOOP");
        for key in ["a", "b", "c", "d", "e"] {
            lazy.run(&format!("SET {key} v PX 1000"));
            lazy.run(&format!("GET {key}"));
        }
        let mut told: Vec<String> = (0..5).map(|_| format!("{:?}", lazy.recv())).collect();
        told.sort();
        told.dedup();
        assert_eq!(told.len(), 5, "{told:?}");
        writer.run("DEBUG SET-ACTIVE-EXPIRE 0");
        lazy.run("SET f v PX 1000");
        lazy.run("GET f");
        std::thread::sleep(Duration::from_millis(1010));
        assert!(writer.run("GET f").is_nil());
        assert!(matches!(lazy.run("PING"), Reply::Push(_)));
    }
}

#[test]
fn a_client_that_waits_is_told_behind_its_reply() {
    for shards in [1, 3] {
        let server = Server::corelane(shards);
        for (from, to) in [("list{1}", "other{1}"), ("k", "l"), ("l", "m"), ("m", "k")] {
            let (mut waiter, mut pusher) = (server.client(), server.client());
            waiter.run("HELLO 3");
            waiter.run("CLIENT TRACKING ON");
            waiter.run(&format!("LRANGE {to} 0 -1"));
            waiter.send(&parse_line(&format!("BLMOVE {from} {to} LEFT LEFT 0"))).expect("written");
            server.wait_info("blocked_clients", "1");
            pusher.run(&format!("RPUSH {from} x"));
            assert_eq!(waiter.recv().expect("a reply"), Reply::Bulk(b"x".to_vec()));
            assert!(matches!(waiter.recv().expect("an invalidation"), Reply::Push(_)));
            pusher.run("FLUSHALL");
        }
    }
}

#[test]
fn the_table_of_keys_is_bounded() {
    for shards in [1, 3] {
        let server = Server::corelane(shards);
        let (mut client, mut admin) = (server.client(), server.client());
        client.run("HELLO 3");
        client.run("CLIENT TRACKING ON");
        (0..500).for_each(|n| drop(client.run(&format!("GET key:{n}"))));
        assert_eq!(server.info("tracking_total_keys"), Some("500".to_string()));
        assert_eq!(server.info("tracking_total_items"), Some("500".to_string()));
        assert_eq!(
            admin.run("CONFIG SET tracking-table-max-keys 120"),
            Reply::Simple(b"OK".to_vec())
        );
        for _ in 0..380 {
            assert!(matches!(client.recv(), Ok(Reply::Push(_))));
        }
        assert_eq!(client.run("PING"), Reply::Simple(b"PONG".to_vec()));
        assert_eq!(server.info("tracking_total_keys"), Some("120".to_string()));
        client.send(&parse_line("GET key:new")).expect("written");
        let seen = [client.recv().expect("one"), client.recv().expect("two")];
        assert!(seen.iter().any(|reply| matches!(reply, Reply::Push(_))), "{seen:?}");
        drop(client);
        server.wait_info("tracking_total_keys", "0");
        assert_eq!(server.info("tracking_clients"), Some("0".to_string()));
    }
}

/// Many clients that cache what they read, and believe their caches: whoever could know of a write must
/// not find an older value in a cache.
#[test]
fn caches_are_never_stale_for_those_who_could_know() {
    const KEYS: usize = 12;
    let server = Server::corelane(3);
    let mut rng = Rng::new(77);
    let mut cachers: Vec<Cacher> = (0..6).map(|n| Cacher::new(&server, n % 2 == 0)).collect();
    let mut writers: Vec<Client> = (0..3).map(|_| server.client()).collect();
    let mut now = vec![0u64; KEYS];
    for step in 1..=u64::from(cases(6_000)) {
        let writer = &mut writers[rng.below(3)];
        let (a, b) = (rng.below(KEYS), rng.below(KEYS));
        match rng.below(9) {
            0..4 => drop(writer.run(&format!("SET {a} {step}"))),
            4 => drop(writer.run(&format!("MSET {a} {step} {b} {step}"))),
            5 => {
                writer.run("MULTI");
                writer.run(&format!("SET {a} {step}"));
                writer.run(&format!("SET {b} {step}"));
                if rng.below(2) == 0 {
                    writer.run("DBSIZE");
                }
                writer.run("EXEC");
            }
            6 => {
                writer.run(&format!("SET {a} {step}"));
                writer.run(&format!("COPY {a} {b} REPLACE"));
            }
            _ => {}
        }
        now = values(&mut writers[0], KEYS);
        let reads = 1 + rng.below(3);
        for _ in 0..reads {
            let cacher = &mut cachers[rng.below(6)];
            let key = rng.below(KEYS);
            assert_eq!(cacher.get(key), now[key], "key {key} in step {step}");
        }
    }
    assert!(now.iter().any(|&value| value > 0));
    let hits: usize = cachers.iter().map(|cacher| cacher.hits).sum();
    assert!(hits > 500, "{hits} values were found in caches");
}

fn values(client: &mut Client, keys: usize) -> Vec<u64> {
    let names = (0..keys).map(|key| key.to_string());
    let reply = client.call(&Cmd::new(std::iter::once("MGET".to_string()).chain(names)));
    reply.items().iter().map(value).collect()
}

fn value(reply: &Reply) -> u64 {
    match reply.is_nil() {
        true => 0,
        false => reply.text().parse().expect("a number"),
    }
}

struct Cacher {
    client: Client,
    cache: HashMap<usize, u64>,
    hits: usize,
}

impl Cacher {
    fn new(server: &Server, broadcast: bool) -> Cacher {
        let mut client = server.client();
        client.run("HELLO 3");
        client.run(if broadcast { "CLIENT TRACKING ON BCAST" } else { "CLIENT TRACKING ON" });
        Cacher { client, cache: HashMap::new(), hits: 0 }
    }

    /// What the client takes for the value, after it has heard what it is told until now.
    fn get(&mut self, key: usize) -> u64 {
        self.ask("PING");
        if let Some(&value) = self.cache.get(&key) {
            self.hits += 1;
            return value;
        }
        let reply = self.ask(&format!("GET {key}"));
        self.cache.insert(key, value(&reply));
        value(&reply)
    }

    fn ask(&mut self, line: &str) -> Reply {
        self.client.send(&parse_line(line)).expect("written");
        loop {
            match self.client.recv().expect("a reply") {
                Reply::Push(parts) => match &parts[1] {
                    Reply::Null => self.cache.clear(),
                    keys => keys.items().iter().for_each(|key| {
                        self.cache.remove(&key.text().parse().expect("a number"));
                    }),
                },
                reply => return reply,
            }
        }
    }
}
