//! INFO, CONFIG, TIME, DEBUG, SHUTDOWN and the like.

use crate::harness::pair::{everywhere, everywhere_with};
use crate::harness::process::is_stand_in;
use crate::harness::{Cmd, Reply, Server, now, parse_line, wait_until};
use std::time::Duration;

#[test]
fn config_get_and_set() {
    everywhere(
        r#"
        CONFIG SET client-query-buffer-limit 100mb
        CONFIG GET client-query-buffer-limit
        CONFIG SET client-query-buffer-limit 1gb
        CONFIG SET timeout 10
        CONFIG GET timeout
        CONFIG SET timeout 0
        CONFIG GET TIMEOUT
        CONFIG GET nosuch*
        CONFIG GET timeou?
        CONFIG SET timeout abc
        CONFIG SET timeout -1
        CONFIG SET nosuch 1
        CONFIG SET
        CONFIG SET timeout
        CONFIG SET port
        CONFIG GET
        CONFIG GET proto-max-bulk-len
        CONFIG GET databases
        CONFIG SET databases 3
        CONFIG SET timeout 5 tcp-keepalive 100
        CONFIG GET timeout tcp-keepalive
        CONFIG SET timeout 7 nosuch 1
        CONFIG GET timeout
        CONFIG SET timeout 7 timeout 8
        CONFIG SET timeout 0 tcp-keepalive 300
        CONFIG RESETSTAT
        CONFIG RESETSTAT x
        CONFIG FOO
        CONFIG
        "#,
    );
}

#[test]
fn info_has_the_fields_that_tools_read() {
    let server = Server::corelane(3);
    let mut client = server.client();
    client.run("MSET a 1 b 2 c 3 d 4");
    client.run("EXPIRE a 100");
    client.run("SELECT 2");
    client.run("SET x 1");
    client.run("GET x");
    client.run("GET missing");
    let info = client.run("INFO").text();
    for field in [
        "redis_version",
        "redis_mode",
        "os",
        "arch_bits",
        "process_id",
        "run_id",
        "tcp_port",
        "uptime_in_seconds",
        "connected_clients",
        "blocked_clients",
        "maxclients",
        "used_memory",
        "used_memory_human",
        "used_memory_rss",
        "used_memory_peak",
        "maxmemory",
        "maxmemory_policy",
        "mem_fragmentation_ratio",
        "total_connections_received",
        "total_commands_processed",
        "instantaneous_ops_per_sec",
        "rejected_connections",
        "expired_keys",
        "evicted_keys",
        "keyspace_hits",
        "keyspace_misses",
        "role",
        "used_cpu_sys",
        "used_cpu_user",
        "cluster_enabled",
        "db0",
        "db2",
    ] {
        let present = info.lines().any(|l| l.starts_with(&format!("{field}:")));
        assert!(present, "INFO lacks {field}:\n{info}");
    }
    let line = |f: &str| info.lines().find(|l| l.starts_with(f)).unwrap_or_default().to_string();
    assert!(line("db0:").starts_with("db0:keys=4,expires=1,avg_ttl="), "{}", line("db0:"));
    assert!(line("db2:").starts_with("db2:keys=1,expires=0,avg_ttl="), "{}", line("db2:"));
    assert_eq!(line("keyspace_hits:"), "keyspace_hits:1");
    assert_eq!(line("keyspace_misses:"), "keyspace_misses:1");
    assert_eq!(line("tcp_port:"), format!("tcp_port:{}", server.port));
    assert_eq!(line("process_id:"), format!("process_id:{}", server.pid()));
    let keyspace = client.run("INFO keyspace").text();
    assert!(
        keyspace.starts_with("# Keyspace\r\n") && !keyspace.contains("redis_version"),
        "{keyspace}"
    );
    let two = client.run("INFO clients KEYSPACE").text();
    assert!(
        two.contains("# Clients") && two.contains("# Keyspace") && !two.contains("# Server"),
        "{two}"
    );
    assert_eq!(client.run("INFO nosuchsection").text(), "");
    assert!(client.run("INFO all").text().contains("cmdstat_get:calls=2,"));
    client.run("CONFIG RESETSTAT");
    assert_eq!(server.info("keyspace_hits").as_deref(), Some("0"));
}

#[test]
fn info_is_verbatim_in_resp3() {
    everywhere_with(&[], |both| {
        let kinds = [&mut both.redis, &mut both.corelane].map(|c| match c.run("INFO server") {
            Reply::Verbatim(format, _) => format,
            Reply::Bulk(_) => "bulk".to_string(),
            other => panic!("{other:?}"),
        });
        assert_eq!(kinds[0], kinds[1]);
    });
}

#[test]
fn time_moves_on() {
    let server = Server::corelane(2);
    let mut client = server.client();
    let mut micros = || {
        let reply = client.run("TIME");
        let part = |i: usize| reply.items()[i].text().parse::<u64>().expect("a number");
        assert!(part(1) < 1_000_000);
        part(0) * 1_000_000 + part(1)
    };
    let first = micros();
    std::thread::sleep(Duration::from_millis(50));
    let passed = micros() - first;
    assert!((45_000..5_000_000).contains(&passed), "{passed} µs");
}

#[test]
fn debug_sleep_holds_and_refusals() {
    everywhere_with(&[], |both| {
        let start = now();
        both.script("DEBUG SLEEP 0.1");
        assert!(start.elapsed() >= Duration::from_millis(200), "each of the two sleeps");
        both.script("SET brief v PX 30\nDEBUG SLEEP 0.05\nGET brief");
        both.script("SET k v\nDEBUG SLEEP\nDEBUG FOO\nDEBUG\nDEBUG OBJECT missing\nTIME x");
        both.script("DEBUG SET-ACTIVE-EXPIRE 0\nSET gone v PX 20");
        std::thread::sleep(Duration::from_millis(600));
        both.script("DBSIZE\nEXISTS gone\nDBSIZE\nDEBUG SET-ACTIVE-EXPIRE 1");
        let text = both.corelane.run("DEBUG OBJECT k").text();
        assert!(text.contains("refcount:") && text.contains("encoding:embstr"), "{text}");
    });
}

#[test]
fn all_shards_sleep_at_the_same_time() {
    let server = Server::corelane(3);
    let mut clients: Vec<_> = (0..8).map(|_| server.client()).collect();
    for client in &mut clients {
        client.run("PING");
    }
    let start = now();
    let Some((sleeper, others)) = clients.split_first_mut() else { return };
    sleeper.send(&parse_line("DEBUG SLEEP 2")).expect("sent");
    std::thread::sleep(Duration::from_millis(400));
    for (n, client) in others.iter_mut().enumerate() {
        client.send(&parse_line(&format!("SET key{n} v"))).expect("sent");
    }
    for client in others {
        assert_eq!(client.recv().expect("a reply").text(), "OK");
        assert!(start.elapsed() >= Duration::from_secs(2), "{:?}", start.elapsed());
    }
    assert_eq!(sleeper.recv().expect("a reply").text(), "OK");
    assert!(start.elapsed() < Duration::from_millis(3900), "once: {:?}", start.elapsed());
    // What follows in the pipeline is later, also on the shard of the client.
    let pipeline = ["SET a v PX 30", "SET b v PX 30", "DEBUG SLEEP 0.05", "MGET a b", "EXISTS a b"];
    let requests: Vec<Cmd> = pipeline.map(parse_line).into();
    let replies = sleeper.pipeline(&requests).expect("replies");
    assert_eq!(replies[4].int(), 0, "{replies:?}");
}

#[test]
fn lolwut_names_the_version() {
    let server = Server::corelane(1);
    let text = server.client().run("LOLWUT").text();
    assert!(!text.is_empty());
}

#[test]
fn signals_and_shutdown_end_the_server_in_order() {
    for how in ["term", "int", "shutdown", "nosave"] {
        let mut server = Server::corelane(3);
        let mut client = server.client();
        client.run("MSET a 1 b 2 c 3");
        let status = match how {
            "term" => server.end(libc::SIGTERM),
            "int" => server.end(libc::SIGINT),
            _ => {
                let line = if how == "nosave" { "SHUTDOWN NOSAVE\r\n" } else { "SHUTDOWN\r\n" };
                client.send_raw(line.as_bytes()).unwrap();
                let (bytes, ending) = client.drain(Duration::from_secs(10));
                assert_eq!((bytes.len(), ending), (0, crate::harness::client::Ending::Closed));
                server.end(0)
            }
        };
        assert_eq!(status.code(), Some(0), "after {how}: {}", server.log());
    }
}

#[test]
fn shutdown_refuses_what_it_does_not_know() {
    everywhere("SHUTDOWN FOO\nSHUTDOWN NOSAVE SAVE\nSHUTDOWN ABORT\nPING");
}

/// An idle server sleeps: under half a percent of a core.
#[test]
fn an_idle_server_uses_no_cpu() {
    if is_stand_in() {
        return;
    }
    let server = Server::corelane(3);
    let clients: Vec<_> = (0..50)
        .map(|_| {
            let mut c = server.client();
            c.run("PING");
            c
        })
        .collect();
    std::thread::sleep(Duration::from_millis(1500));
    // /proc counts in ticks of 10 ms: over 6 s half a percent is 3 ticks. Twice that is allowed,
    // since other tests share the cores.
    wait_until("an idle stretch of 6 s takes at most 60 ms of CPU", || {
        let before = server.cpu();
        std::thread::sleep(Duration::from_secs(6));
        let used = server.cpu() - before;
        println!("idle: {used:?} in 6 s with {} connections", clients.len());
        used <= Duration::from_millis(60)
    });
}
