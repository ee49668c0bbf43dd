//! Memory: limits, what is evicted and what is refused, MEMORY.

use crate::harness::client::Client;
use crate::harness::pair::everywhere;
use crate::harness::{Cmd, Reply, Server, parse_line, wait_until};
use std::time::Duration;

const MB: u64 = 1 << 20;

fn number(server: &Server, field: &str) -> u64 {
    server.info(field).expect(field).parse().expect(field)
}

/// A server whose limit leaves room for `room` bytes of data.
fn limited(shards: usize, policy: &str, room: u64) -> (Server, u64) {
    let server = Server::corelane_with(shards, &["--maxmemory-policy", policy]);
    // The first commands over other shards' keys make room for messages.
    let mut client = server.client();
    fill(&mut client, "early", 300, 10, "");
    client.run("FLUSHALL");
    let limit = number(&server, "used_memory") + room;
    assert_eq!(client.run(&format!("CONFIG SET maxmemory {limit}")).text(), "OK");
    (server, limit)
}

/// Sets keys with values of so many bytes; gives how many were refused.
fn fill(client: &mut Client, name: &str, keys: usize, bytes: usize, options: &str) -> usize {
    let value = "x".repeat(bytes);
    let mut refused = 0;
    for start in (0..keys).step_by(50) {
        let set = |key| parse_line(&format!("SET {name}:{key} {value} {options}"));
        let commands: Vec<Cmd> = (start..keys.min(start + 50)).map(set).collect();
        let replies = client.pipeline(&commands).expect("replies");
        refused += replies.iter().filter(|reply| is_oom(reply)).count();
    }
    refused
}

fn is_oom(reply: &Reply) -> bool {
    let text = format!("{reply:?}");
    text.contains("OOM command not allowed when used memory > 'maxmemory'")
}

fn present(client: &mut Client, name: &str, keys: usize) -> usize {
    let exists = |key| parse_line(&format!("EXISTS {name}:{key}"));
    let commands: Vec<Cmd> = (0..keys).map(exists).collect();
    let replies = client.pipeline(&commands).expect("replies");
    replies.iter().filter(|reply| reply.int() == 1).count()
}

#[test]
fn every_policy_keeps_the_limit_and_takes_what_it_may() {
    for shards in [1, 3] {
        for policy in [
            "allkeys-lru",
            "allkeys-lfu",
            "allkeys-random",
            "volatile-lru",
            "volatile-lfu",
            "volatile-random",
            "volatile-ttl",
        ] {
            let (server, limit) = limited(shards, policy, 2 * MB);
            let mut client = server.client();
            let lasting = fill(&mut client, "lasting", 500, 1000, "");
            let volatile = fill(&mut client, "volatile", 6000, 1000, "EX 1000");
            assert_eq!((lasting, volatile), (0, 0), "{policy} on {shards}: nothing is refused");
            let what = format!("{policy} on {shards}: below the limit");
            wait_until(&what, || number(&server, "used_memory") <= limit + 64 * 1024);
            assert!(number(&server, "evicted_keys") > 2000, "{policy} on {shards}");
            let left = present(&mut client, "lasting", 500);
            match policy.starts_with("volatile") {
                true => assert_eq!(left, 500, "{policy} on {shards}: keys without expiry stay"),
                false => assert!(left < 500, "{policy} on {shards}: any key may go"),
            }
        }
    }
}

#[test]
fn keys_that_come_one_by_one_fill_the_memory_to_the_limit() {
    for shards in [1, 2, 4] {
        for policy in ["allkeys-lru", "allkeys-random"] {
            let (server, limit) = limited(shards, policy, MB);
            let mut client = server.client();
            let value = "x".repeat(200);
            for key in 0..6000 {
                assert_eq!(client.run(&format!("SET key:{key} {value}")).text(), "OK");
            }
            assert!(number(&server, "evicted_keys") > 500, "{policy} on {shards}");
            let full = |used| (limit - 16 * 1024..limit + 4096).contains(&used);
            wait_until("what is used is about the limit", || full(number(&server, "used_memory")));
        }
    }
}

#[test]
fn telling_of_evictions_leads_to_no_more_of_them() {
    for shards in [1, 2, 4] {
        let server = Server::corelane_with(shards, &["--maxmemory-policy", "allkeys-lru"]);
        let mut client = server.client();
        let mut readers: Vec<Client> = (0..10).map(|_| server.client()).collect();
        for reader in &mut readers {
            reader.run("HELLO 3");
            assert_eq!(reader.run("CLIENT TRACKING on").text(), "OK");
        }
        for key in 0..300 {
            let key = format!("{key}{}", "x".repeat(1000));
            client.run(&format!("SET {key} x"));
            readers
                .iter_mut()
                .for_each(|reader| assert_eq!(reader.run(&format!("GET {key}")).text(), "x"));
        }
        // An eviction is worth some 1.1 kB, and ten times as much is sent to tell of it. Each shard may see the
        // lower limit before the others have made room.
        let limit = number(&server, "used_memory") - 40_000;
        assert_eq!(client.run(&format!("CONFIG SET maxmemory {limit}")).text(), "OK");
        wait_until("keys go", || number(&server, "evicted_keys") > 10);
        std::thread::sleep(Duration::from_millis(300));
        let evicted = number(&server, "evicted_keys");
        assert!(evicted < 160, "{evicted} of 300 keys are gone on {shards} shards");
    }
}

#[test]
fn without_anything_to_evict_writes_are_refused() {
    for shards in [1, 3] {
        for policy in ["noeviction", "volatile-lru", "volatile-random", "volatile-ttl"] {
            let (server, limit) = limited(shards, policy, 2 * MB);
            let mut client = server.client();
            let refused = fill(&mut client, "k", 6000, 1000, "");
            assert!(refused > 2000, "{policy} on {shards}: {refused} were refused");
            assert!(number(&server, "used_memory") < limit + MB);
            assert_eq!(number(&server, "evicted_keys"), 0);
            // What clients had is given back after a while; then there is room again.
            wait_until("there is no room", || {
                client.run("DEL a b c d e f");
                fill(&mut client, "small", 100, 100, "");
                is_oom(&client.run("MSET a 1 b 2 c 3 d 4 e 5 f 6"))
            });
            assert_eq!(client.run("EXISTS a b c d e f").int(), 0, "refused as a whole");
            assert!(client.run("GET k:0").text().len() == 1000);
            let gone: Vec<String> = (0..3000).map(|key| format!("k:{key}")).collect();
            client.run(&format!("DEL {}", gone.join(" ")));
            wait_until("room", || !is_oom(&client.run("SET a 1")));
            assert!(number(&server, "total_eviction_exceeded_time") > 0);
            assert_eq!(number(&server, "current_eviction_exceeded_time"), 0);
        }
    }
}

#[test]
fn what_is_used_stays_and_a_hot_shard_borrows_from_cold_ones() {
    for shards in [1, 3] {
        let (server, _) = limited(shards, "allkeys-lru", 5 * MB);
        let mut client = server.client();
        fill(&mut client, "old", 2000, 1000, "");
        fill(&mut client, "hot", 200, 1000, "");
        std::thread::sleep(Duration::from_millis(2100));
        // All of these live on one shard.
        for round in 0..8 {
            // Another shard that gets no time makes no room in time: then some of these have to go.
            let hot = present(&mut client, "hot", 200);
            assert!(hot >= 150, "in round {round} on {shards}: {hot} of 200 hot ones");
            let touch: Vec<Cmd> = (0..200).map(|k| parse_line(&format!("GET hot:{k}"))).collect();
            client.pipeline(&touch).expect("replies");
            assert_eq!(fill(&mut client, &format!("{{new}}:{round}"), 500, 1000, ""), 0);
        }
        let old = present(&mut client, "old", 2000);
        let new: usize = (0..8).map(|n| present(&mut client, &format!("{{new}}:{n}"), 500)).sum();
        assert!(number(&server, "evicted_keys") > 500, "on {shards}");
        assert!(old < 1400 && new > 3500, "on {shards}: {old} old ones, {new} of 4000 new ones");
    }
}

#[test]
fn a_lower_limit_evicts_at_once() {
    for shards in [1, 3] {
        let (server, limit) = limited(shards, "allkeys-random", 20 * MB);
        let mut client = server.client();
        fill(&mut client, "k", 8000, 1000, "");
        client.run("RPUSH list a");
        let many = "x ".repeat(1000);
        (0..50).for_each(|_| drop(client.run(&format!("RPUSH big {many}"))));
        let lower = limit - 15 * MB;
        client.run(&format!("CONFIG SET maxmemory {lower}"));
        wait_until("room", || number(&server, "used_memory") <= lower);
        client.run("CONFIG SET maxmemory 1");
        wait_until("nothing left", || client.run("DBSIZE").int() == 0);
        assert!(is_oom(&client.run("SET k v")));
        assert!(client.run("GET k").is_nil());
    }
}

#[test]
fn evictions_are_told_of_and_recorded() {
    let dir = Server::make_dir();
    for shards in [1, 3] {
        let args = ["--appendonly", "yes", "--notify-keyspace-events", "Ee"];
        let own = dir.join(shards.to_string());
        std::fs::create_dir_all(&own).expect("a directory");
        let keys = {
            let mut server = Server::corelane_in(&own, shards, &args);
            let (mut client, mut listener, mut tracker) =
                (server.client(), server.client(), server.client());
            listener.run("SUBSCRIBE __keyevent@0__:evicted");
            tracker.run("HELLO 3");
            tracker.run("CLIENT TRACKING ON");
            fill(&mut client, "k", 1000, 1000, "");
            tracker.run("GET k:1");
            client.run("WATCH k:1 k:2");
            client.run("MULTI");
            client.run("GET other");
            let mut admin = server.client();
            admin.run("CONFIG SET maxmemory-policy allkeys-lru lazyfree-lazy-eviction no");
            admin.run("CONFIG SET maxmemory 1");
            wait_until("nothing left", || admin.run("DBSIZE").int() == 0);
            assert!(client.run("EXEC").is_nil(), "a watched key has gone");
            admin.run("CONFIG SET maxmemory 0");
            let event = listener.recv().expect("an event");
            assert_eq!(event.items()[1].text(), "__keyevent@0__:evicted");
            assert!(event.items()[2].text().starts_with("k:"));
            let told = tracker.recv().expect("an invalidation");
            assert_eq!(
                (told.items()[0].text(), told.items()[1].items()[0].text()),
                ("invalidate".into(), "k:1".into())
            );
            assert_eq!(number(&server, "evicted_keys"), 1000);
            fill(&mut client, "left", 10, 10, "");
            let keys = admin.run("DBSIZE").int();
            server.end(libc::SIGTERM);
            keys
        };
        let server = Server::corelane_in(&own, shards, &args);
        assert_eq!((keys, server.client().run("DBSIZE").int()), (10, 10), "{shards} shards");
    }
    let _ = std::fs::remove_dir_all(dir);
}

#[test]
fn data_larger_than_the_limit_are_loaded() {
    let dir = Server::make_dir();
    {
        let mut server = Server::corelane_in(&dir, 3, &["--appendonly", "yes"]);
        fill(&mut server.client(), "k", 3000, 1000, "");
        server.end(libc::SIGTERM);
    }
    for policy in ["noeviction", "allkeys-lru"] {
        let options = ["--appendonly", "yes", "--maxmemory", "1mb", "--maxmemory-policy", policy];
        let mut server = Server::corelane_in(&dir, 2, &options);
        let mut client = server.client();
        assert!(client.run("INFO persistence").text().contains("loading:0"));
        match policy {
            "noeviction" => {
                assert_eq!(client.run("DBSIZE").int(), 3000);
                assert!(is_oom(&client.run("SET k v")));
            }
            _ => wait_until("few are left", || client.run("DBSIZE").int() < 1000),
        }
        server.end(libc::SIGTERM);
    }
    let _ = std::fs::remove_dir_all(dir);
}

const REFUSALS: &str = r##"
        SET k v
        SET n 5
        RPUSH l a b
        FUNCTION LOAD REPLACE "#!lua name=lib\nredis.register_function('plain', function(keys) return redis.call('set', keys[1], 'x') end)\nredis.register_function{function_name='free', callback=function(keys) return redis.call('set', keys[1], 'f') end, flags={'allow-oom'}}\nredis.register_function{function_name='reader', callback=function(keys) return redis.call('get', keys[1]) end, flags={'no-writes'}}"
        CONFIG SET maxmemory 1
        SET k w
        APPEND k w
        INCR n
        LPUSH l c
        LPOP l
        RPOPLPUSH l l
        GETSET k w
        SETEX k 10 w
        MSET a 1 b 2 c 3
        MSETNX a 1 b 2 c 3
        COPY k m
        RENAME k m
        SINTERSTORE s t u
        PFADD h a
        XADD x * f v
        EXPIRE m 100
        GET m
        DEL n
        SORT l STORE s
        SUBSTR m 0 1
        EVAL "return redis.call('set', KEYS[1], 'x')" 1 k
        EVAL "return redis.pcall('set', KEYS[1], 'x').err" 1 k
        EVAL "redis.call('del', KEYS[1]) return redis.call('set', KEYS[1], 'x')" 1 m
        EVAL "return redis.call('get', KEYS[1])" 1 m
        EVAL "#!lua\nreturn 1" 0
        EVAL "#!lua flags=allow-oom\nreturn redis.call('set', KEYS[1], 'y')" 1 m
        EVAL "#!lua flags=no-writes\nreturn redis.call('get', KEYS[1])" 1 m
        EVAL_RO "return redis.call('get', KEYS[1])" 1 m
        FCALL plain 1 k
        FCALL free 1 k
        FCALL reader 1 k
        FCALL none 1 k
        MULTI
        GET k
        EXEC
        MULTI
        SET k v
        DISCARD
        WATCH k
        UNWATCH
        PING
        CONFIG SET maxmemory 0
        MULTI
        SET k 1
        CONFIG SET maxmemory 1
        SET k 2
        EVAL "return redis.call('set', KEYS[1], '3')" 1 k
        EVAL "#!lua\nreturn redis.call('set', KEYS[1], '4')" 1 k
        EXEC
        GET k
        CONFIG SET maxmemory 0
        CONFIG SET maxmemory-policy what
        CONFIG SET maxmemory-clients x%
        CONFIG SET maxmemory-clients 101%
        CONFIG SET maxmemory-clients 5%
        CONFIG GET maxmemory-clients
        CONFIG SET maxmemory-clients 1mb
        CONFIG GET maxmemory-clients
        CONFIG SET maxmemory-clients 0
        CONFIG SET maxmemory-eviction-tenacity 101
        CONFIG SET maxmemory-samples 0
        CONFIG SET maxmemory-policy allkeys-lfu
        OBJECT FREQ none
        OBJECT IDLETIME k
        SET lfu v
        OBJECT FREQ lfu
        CONFIG SET maxmemory-policy noeviction
        OBJECT FREQ k
        FUNCTION FLUSH
"##;

#[test]
fn refusals_read_as_in_redis() {
    everywhere(REFUSALS);
}

#[test]
fn an_exec_is_refused_as_a_whole() {
    let play = |server: Server| {
        let (mut client, mut admin) = (server.client(), server.client());
        let mut heard = Vec::new();
        for (is_admin, line) in [
            (false, "MULTI"),
            (false, "SET a 1"),
            (false, "GET b"),
            (true, "CONFIG SET maxmemory 1"),
            (false, "EXEC"),
            (false, "MULTI"),
            (false, "PING"),
            (false, "EXEC"),
            (true, "CONFIG SET maxmemory 0"),
            (false, "MULTI"),
            (false, "GET b"),
            (true, "CONFIG SET maxmemory 1"),
            (false, "EXEC"),
            (true, "CONFIG SET maxmemory 0"),
            (false, "EXISTS a"),
        ] {
            let client = if is_admin { &mut admin } else { &mut client };
            heard.push(format!("{line}: {:?}", client.run(line)));
        }
        heard
    };
    let expected = play(Server::redis());
    assert!(expected.iter().any(|line| line.contains("EXECABORT")), "{expected:?}");
    for shards in [1, 3] {
        assert_eq!(play(Server::corelane(shards)), expected, "{shards} shards");
    }
}

#[test]
fn the_largest_clients_are_closed() {
    for shards in [1, 3] {
        let server = Server::corelane_with(shards, &["--maxmemory-clients", "3mb"]);
        let mut admin = server.client();
        admin.run("CLIENT NO-EVICT ON");
        let mut small = server.client();
        small.run("CLIENT SETNAME small");
        let half = |client: &mut Client, bytes: usize| {
            let head = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${bytes}\r\n");
            let _ = client.send_raw(head.as_bytes());
            let _ = client.send_raw(&vec![b'x'; bytes - 1000]);
        };
        let (mut kept, mut large) = (server.client(), server.client());
        kept.run("CLIENT SETNAME kept");
        large.run("CLIENT SETNAME large");
        half(&mut kept, 200_000);
        let memory = |admin: &mut Client, name: &str| {
            let list = admin.run("CLIENT LIST").text();
            let line = list.lines().find(|line| line.contains(&format!("name={name} ")))?;
            let field = line.split(' ').find_map(|word| word.strip_prefix("tot-mem="))?;
            field.parse::<usize>().ok()
        };
        wait_until("the query is counted", || {
            memory(&mut admin, "kept").is_some_and(|bytes| (199_000..600_000).contains(&bytes))
        });
        half(&mut large, 4_000_000);
        wait_until("it is closed", || memory(&mut admin, "large").is_none());
        assert!(memory(&mut admin, "kept").is_some() && memory(&mut admin, "small").is_some());
        assert_eq!(number(&server, "evicted_clients"), 1);
        assert_eq!(small.run("PING").text(), "PONG");
        assert!(number(&server, "mem_clients_normal") > 200_000);
        // Those who must not go stay, whatever they use.
        let mut safe = server.client();
        safe.run("CLIENT SETNAME safe");
        safe.run("CLIENT NO-EVICT ON");
        half(&mut safe, 4_000_000);
        wait_until("the others go", || memory(&mut admin, "kept").is_none());
        assert!(memory(&mut admin, "safe").is_some_and(|bytes| bytes > 3_900_000));
    }
}

#[test]
fn memory_tells_where_it_goes() {
    for shards in [1, 3] {
        let server = Server::corelane(shards);
        let mut client = server.client();
        let before = number(&server, "used_memory");
        fill(&mut client, "k", 10_000, 1000, "");
        let used = number(&server, "used_memory");
        assert!((10 * MB..14 * MB).contains(&(used - before)), "{before} {used}");
        assert!(number(&server, "used_memory_dataset") > 9 * MB);
        let stats = client.run("MEMORY STATS");
        assert_eq!(stats.items().len(), 2 * 28);
        assert_eq!(client.run("MEMORY PURGE").text(), "OK");
        assert!(client.run("MEMORY MALLOC-STATS").text().contains("jemalloc"));
        assert!(!client.run("MEMORY DOCTOR").text().is_empty());
        client.run("FLUSHALL");
        wait_until("freed", || number(&server, "used_memory") < before + 4 * MB);
        assert!(number(&server, "used_memory_peak") >= used);
    }
}
