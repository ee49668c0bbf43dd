//! SLOWLOG and COMMANDLOG: what is logged, compared with redis-server's and Valkey's logs.

use crate::harness::client::Client;
use crate::harness::{Cmd, Reply, Server};

/// An entry without what differs from run to run: whose it is (as one of `clients`), and its words.
fn entry(entry: &Reply, addresses: &[String]) -> String {
    let fields = entry.items();
    assert_eq!(fields.len(), 6, "{entry:?}");
    assert!(fields[1].int() > 1_600_000_000 && fields[2].int() >= 0, "{entry:?}");
    let words: Vec<String> = fields[3].items().iter().map(Reply::text).collect();
    let address = fields[4].text();
    let client = addresses.iter().position(|own| *own == address);
    let client = client.map_or(address, |at| format!("client {at}"));
    format!("{client} '{}': {}", fields[5].text(), words.join(" "))
}

fn ids(log: &Reply) -> Vec<i64> {
    log.items().iter().map(|entry| entry.items()[0].int()).collect()
}

fn address(client: &mut Client) -> String {
    let line = client.run("CLIENT INFO").text();
    let field = line.split(' ').find_map(|field| field.strip_prefix("addr="));
    field.expect("an address").to_string()
}

/// Runs the lines of a script on two clients, with every command logged; answers the log.
fn logged(server: &Server, script: &str, get: &str) -> Vec<String> {
    let mut clients = [server.client(), server.client()];
    let addresses = [address(&mut clients[0]), address(&mut clients[1])];
    clients[0].run("CLIENT SETNAME first");
    clients[0].run("CONFIG SET slowlog-log-slower-than 0");
    clients[0].run("SLOWLOG RESET");
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (client, line) = line.split_once(' ').expect("a client and a command");
        clients[client.parse::<usize>().expect("a number")].run(line);
    }
    clients[0].run("CONFIG SET slowlog-log-slower-than -1");
    let log = clients[1].run(get);
    let mut sorted = ids(&log);
    sorted.sort_unstable_by(|a, b| b.cmp(a));
    assert_eq!(ids(&log), sorted, "the newest entry is the first");
    log.items().iter().map(|item| entry(item, &addresses)).collect()
}

fn agree(script: &str) {
    let expected = logged(&Server::redis(), script, "SLOWLOG GET -1");
    for shards in [1, 3] {
        let found = logged(&Server::corelane(shards), script, "SLOWLOG GET -1");
        assert_eq!(expected, found, "with {shards} shards");
    }
}

#[test]
fn every_command_is_logged_once_whatever_shards_it_runs_on() {
    agree(
        "0 SET k v
        1 GET k
        0 MSET a 1 b 2 c 3 d 4 e 5
        1 MGET e d c b a
        0 DEL a b c
        0 RENAME d f
        0 SINTERSTORE s1 s2 s3
        1 CLIENT SETNAME second
        1 LPUSH l x y
        0 LLEN l
        0 DBSIZE
        0 FLUSHALL
        0 PING
        0 INCR l
        0 TYPE none",
    );
}

#[test]
fn what_is_refused_and_what_is_secret_is_not_logged() {
    agree(
        "0 NOSUCH a
        0 GET
        0 SET k
        0 HELLO 3 AUTH default wrong
        0 HELLO 2
        0 AUTH wrong
        0 LPUSH k x
        0 GET k
        0 CLIENT NOSUCH",
    );
}

#[test]
fn blocks_log_their_requests_and_not_exec() {
    agree(
        "0 MULTI
        0 SET {t}1 v
        0 INCR {t}1
        0 EXEC
        1 MULTI
        1 SET a 1
        1 SET b 2
        1 MGET c d e f
        1 EXEC
        0 MULTI
        0 SET a 1
        0 DISCARD",
    );
}

#[test]
fn arguments_are_shortened() {
    let words: Vec<String> = (0..40).map(|n| n.to_string()).collect();
    let long = "A".repeat(200);
    agree(&format!("0 SADD set {}\n0 SADD set {long}\n0 ECHO {}", words.join(" "), &long[..128]));
}

#[test]
fn scripts_and_what_they_call_are_logged() {
    for shards in [1, 3] {
        let script = "0 EVAL \"redis.call('PING') return redis.call('ECHO','x')\" 0";
        let log = logged(&Server::corelane(shards), script, "SLOWLOG GET 3");
        let words = ["eval", "echo x", "ping"].map(|word| word.to_string());
        let is_there =
            |(line, word): (&String, &String)| line.to_lowercase().contains(word.as_str());
        assert!(log.iter().zip(&words).all(is_there), "{log:?}");
    }
    let script = "0 EVAL \"return redis.call('SET',KEYS[1],'v')\" 1 k\n0 GET k";
    for shards in [1, 3] {
        let log = logged(&Server::corelane(shards), script, "SLOWLOG GET 4");
        assert_eq!(log[0], "client 0 'first': GET k");
        assert!(log[1].starts_with("client 0 'first': EVAL return redis.call"), "{log:?}");
        assert_eq!(log[2], "client 0 'first': SET k v");
    }
}

#[test]
fn a_client_that_waits_is_logged_when_it_is_served() {
    for shards in [1, 3] {
        let server = Server::corelane(shards);
        let (mut one, mut two) = (server.client(), server.client());
        one.run("CLIENT SETNAME waiter");
        two.run("CONFIG SET slowlog-log-slower-than 0");
        two.run("SLOWLOG RESET");
        one.send(&Cmd::new(["BLPOP", "list", "0"])).expect("sent");
        server.wait_info("blocked_clients", "1");
        let calls = |log: &Reply| {
            let words = |entry: &Reply| entry.items()[3].items()[0].text();
            log.items().iter().filter(|entry| words(entry) == "BLPOP").count()
        };
        assert_eq!(calls(&two.run("SLOWLOG GET -1")), 0);
        two.run("LPUSH list x");
        one.recv().expect("what it waited for");
        crate::harness::wait_until("it is logged", || calls(&two.run("SLOWLOG GET -1")) == 1);
    }
}

#[test]
fn slow_commands_are_found_in_pipelines_of_brief_ones() {
    for shards in [1, 3] {
        let server = Server::corelane(shards);
        let mut client = server.client();
        client.run("SLOWLOG RESET");
        let mut requests: Vec<Cmd> =
            (0..50).map(|n| Cmd::new(["SET", &format!("k{n}"), "v"])).collect();
        requests.insert(25, Cmd::new(["DEBUG", "SLEEP", "0.02"]));
        requests.insert(10, Cmd::new(["EVAL", "for i = 1, 20000000 do end return 1", "0"]));
        client.pipeline(&requests).expect("replies");
        let log = client.run("SLOWLOG GET -1");
        let first = |entry: &Reply| entry.items()[3].items()[0].text();
        let slow: Vec<String> = log.items().iter().map(first).collect();
        assert!(slow.contains(&"DEBUG".to_string()), "{slow:?}");
        assert!(slow.contains(&"EVAL".to_string()), "{slow:?}");
        let sleep = log.items().iter().find(|entry| first(entry) == "DEBUG").expect("is there");
        assert!(sleep.items()[2].int() >= 20_000);
    }
}

#[test]
fn options_and_errors_are_redis() {
    crate::harness::pair::everywhere(
        "CONFIG GET slowlog-*
        CONFIG SET slowlog-log-slower-than -2
        CONFIG SET slowlog-max-len -1
        CONFIG SET slowlog-log-slower-than -1
        SLOWLOG RESET
        SLOWLOG LEN
        SLOWLOG GET
        SLOWLOG GET -2
        SLOWLOG GET x
        SLOWLOG GET 1 2
        SLOWLOG LEN x
        SLOWLOG NOSUCH
        SLOWLOG
        CONFIG SET slowlog-log-slower-than 0 slowlog-max-len 3
        PING
        PING
        PING
        PING
        SLOWLOG LEN
        CONFIG SET slowlog-max-len 0
        PING
        SLOWLOG LEN
        CONFIG SET slowlog-log-slower-than 10000 slowlog-max-len 128",
    );
}

/// The steps of a conversation about large requests and replies, with the log after each.
fn large(server: &Server) -> Vec<String> {
    let mut client = server.client();
    let own = [address(&mut client)];
    let mut told = Vec::new();
    client.run("CONFIG SET commandlog-request-larger-than 100 commandlog-reply-larger-than 100");
    for kind in ["slow", "large-request", "large-reply"] {
        client.run(&format!("COMMANDLOG RESET {kind}"));
    }
    let value = "v".repeat(90);
    for line in [
        format!("SET {{a}}k {value}"),
        format!("SET {{a}}k {}", &value[..10]),
        format!("APPEND {{a}}k {}", &value[..60]),
        "GET {a}k".to_string(),
        format!("MSET a {value} b {value} c {value}"),
        "MGET a b c".to_string(),
        "STRLEN {a}k".to_string(),
    ] {
        client.run(&line);
    }
    for kind in ["large-request", "LARGE-REPLY"] {
        let log = client.run(&format!("COMMANDLOG GET -1 {kind}"));
        for item in log.items() {
            told.push(format!("{kind}: {} {}", item.items()[2].int(), entry(item, &own)));
        }
        told.push(format!("{:?}", client.run(&format!("COMMANDLOG LEN {kind}"))));
        told.push(format!("{:?}", client.run(&format!("COMMANDLOG RESET {kind}"))));
    }
    for line in [
        "COMMANDLOG GET 1 nosuch",
        "COMMANDLOG GET x slow",
        "COMMANDLOG GET -2 slow",
        "COMMANDLOG GET 1",
        "COMMANDLOG LEN nosuch",
        "COMMANDLOG RESET",
        "COMMANDLOG NOSUCH",
        "CONFIG GET commandlog-*",
    ] {
        told.push(format!("{line}: {:?}", client.run(line)));
    }
    told
}

#[test]
fn large_requests_and_replies_are_valkeys() {
    let Some(valkey) = Server::valkey() else {
        eprintln!("CORELANE_VALKEY is not set: only one side is looked at");
        assert!(large(&Server::corelane(1)).iter().any(|line| line.starts_with("LARGE-REPLY: ")));
        return;
    };
    let expected = large(&valkey);
    for shards in [1, 3] {
        assert_eq!(expected, large(&Server::corelane(shards)), "with {shards} shards");
    }
}
