//! Clients that wait: several of them, in an order that a scenario fixes, on both servers.
//!
//! A line is a client's letter and a command. `A> command` is sent and known to wait before the next line;
//! `A<` reads what it got in the end.

use crate::harness::{Client, Pair, Reply, Server, info_field, now, parse_line, wait_until};
use std::collections::BTreeMap;
use std::time::Duration;

/// Runs a scenario on one server and writes down all replies.
fn play(port: u16, scenario: &str) -> Vec<String> {
    let mut clients: BTreeMap<char, Client> = BTreeMap::new();
    let mut observer = Client::connect(port);
    observer.run("FLUSHALL");
    let mut blocked = 0;
    let mut transcript = Vec::new();
    for line in scenario.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (letter, rest) = (line.chars().next().unwrap(), &line[1..]);
        let client = clients.entry(letter).or_insert_with(|| Client::connect(port));
        if let Some(command) = rest.strip_prefix('>') {
            client.send(&parse_line(command)).unwrap();
            blocked += 1;
            wait_until("the client waits", || blocked_clients(&mut observer) == blocked);
        } else if rest.starts_with('<') {
            let reply = client.recv().unwrap_or_else(|error| panic!("{line}: {error}"));
            transcript.push(format!("{line} {reply:?}"));
            blocked = blocked_clients(&mut observer);
        } else {
            transcript.push(format!("{line}: {:?}", client.run(rest)));
        }
    }
    transcript
}

fn blocked_clients(observer: &mut Client) -> usize {
    clients_field(observer, "blocked_clients")
}

fn clients_field(observer: &mut Client, name: &str) -> usize {
    let info = observer.run("INFO clients").text();
    info_field(&info, name).and_then(|n| n.trim().parse().ok()).expect("the field is there")
}

/// A scenario goes on both servers, with one shard and with several, as it goes on redis-server.
fn scenario(text: &str) {
    for shards in [1, 3] {
        let pair = Pair::start(shards, &[]);
        let expected = play(pair.redis.port, text);
        let got = play(pair.corelane.port, text);
        assert_eq!(expected, got, "{shards} shards");
    }
}

#[test]
fn a_push_serves_the_client_that_waits() {
    scenario(
        "A> BLPOP k1 0
         B RPUSH k1 x y
         A<
         B LRANGE k1 0 -1
         A BLPOP k1 k2 0
         A> BRPOP k1 k2 k3 k4 0
         B LPUSH k3 z
         A<
         B EXISTS k1 k2 k3 k4
         A> BLMPOP 0 3 k1 k2 k3 LEFT COUNT 2
         B RPUSH k2 1 2 3
         A<
         B LRANGE k2 0 -1",
    );
}

#[test]
fn who_came_first_is_served_first() {
    scenario(
        "A> BLPOP k 0
         B> BLPOP j k 0
         C> BRPOP k 0
         D RPUSH k 1
         A<
         D RPUSH k 2
         B<
         D RPUSH k 3
         C<
         A> BLPOP k 0
         B> BLPOP k 0
         D RPUSH k 1 2 3
         A<
         B<
         D LRANGE k 0 -1",
    );
}

#[test]
fn elements_are_moved_to_where_a_client_wants_them() {
    scenario(
        "A> BLMOVE src dst LEFT RIGHT 0
         B RPUSH src a b
         A<
         B LRANGE src 0 -1
         B LRANGE dst 0 -1
         A BRPOPLPUSH src other 0
         A> BRPOPLPUSH src other 0
         B LPUSH src c
         A<
         B LRANGE other 0 -1
         A> BLMOVE src src LEFT LEFT 0
         B LPUSH src c
         A<
         B LRANGE src 0 -1
         B DEL src
         B SET dst text
         A> BLMOVE src dst LEFT RIGHT 0
         B RPUSH src a
         A<
         B LRANGE src 0 -1
         B GET dst
         A BLMOVE src dst LEFT RIGHT 0
         B DEL src dst
         A> BLMOVE src dst LEFT RIGHT 0
         C> BLPOP dst 0
         B RPUSH src chained
         A<
         C<
         B EXISTS src dst",
    );
}

#[test]
fn a_block_is_over_before_anybody_is_served() {
    scenario(
        "A> BLPOP k 0
         B MULTI
         B RPUSH k 1
         B RPUSH k 2
         B DEL k
         B RPUSH k 3
         B EXEC
         A<
         A> BLPOP k 0
         B MULTI
         B RPUSH k 1
         B DEL k
         B SET other 1
         B EXEC
         B RPUSH k 2
         A<
         A> BRPOP k j 0
         B MULTI
         B SET x 1
         B SET y 1
         B SET z 1
         B RPUSH k a b
         B LLEN k
         B EXEC
         A<
         B LRANGE k 0 -1",
    );
}

#[test]
fn nobody_waits_inside_a_block() {
    scenario(
        "A MULTI
         A BLPOP k j 0
         A BLMOVE k j LEFT LEFT 0
         A BRPOPLPUSH k j 0
         A BLMPOP 0 2 k j LEFT
         A RPUSH k 1
         A BLPOP j k 0
         A EXEC
         A MULTI
         A PING
         A BLPOP k 0
         A EXEC",
    );
}

#[test]
fn lists_come_in_many_ways() {
    scenario(
        "A> BLPOP k 0
         B SET k text
         B DEL k
         B RPUSH j x
         B RENAME j k
         A<
         A> BLPOP k 0
         B RPUSH j x
         B COPY j k
         A<
         A> BLPOP k 0
         B SELECT 1
         B RPUSH k moved
         B MOVE k 0
         B SELECT 0
         A<
         A> BLPOP k 0
         B SELECT 1
         B RPUSH k swapped
         B SELECT 0
         B SWAPDB 0 1
         A<
         A> BLPOP k 0
         B RPUSH j y
         B LMOVE j k LEFT LEFT
         A<
         A> BLPOP k 0
         B FLUSHALL
         B SET k text
         B SET k other
         B DEL k
         B RPUSH k last
         A<",
    );
}

#[test]
fn waiting_ends_in_time() {
    scenario(
        "A BLPOP k 0.01
         A BLPOP k j i 0.05
         A BLMOVE k j LEFT LEFT 0.01
         A BRPOPLPUSH k j 0.01
         A BLMPOP 0.01 2 k j LEFT
         A BLPOP k -1
         A BLPOP k abc
         A BLMPOP -1 1 k LEFT
         A SET s text
         A BLPOP s 0
         A BLPOP k s 0",
    );
    let server = Server::corelane(2);
    let mut client = server.client();
    client.run("HELLO 3");
    assert_eq!(client.run("BLPOP k j 0.01"), Reply::Null);
    assert_eq!(client.run("BLMOVE k j LEFT LEFT 0.01"), Reply::Null);
    client.run("HELLO 2");
    for (timeout, millis) in [("0.3", 300), ("1", 1000), ("0.001", 1)] {
        // Where others use the machine it may take longer for no reason of the server's, but not each time.
        wait_until(&format!("{timeout} s are no more"), || {
            let start = now();
            assert_eq!(client.run(&format!("BLPOP k j i h {timeout}")), Reply::NilArray);
            let waited = start.elapsed().as_millis();
            assert!(waited >= millis - 1, "{timeout} s took {waited} ms");
            waited < millis + 300
        });
    }
}

#[test]
fn a_wait_can_be_ended_by_others() {
    for shards in [1, 3] {
        let server = Server::corelane(shards);
        let (mut waiter, mut other) = (server.client(), server.client());
        let id = waiter.run("CLIENT ID").int();
        let not_waiting = other.run(&format!("CLIENT UNBLOCK {id}"));
        assert_eq!(not_waiting, Reply::Int(0));
        for (how, reply) in [
            ("", "*-1"),
            (" TIMEOUT", "*-1"),
            (" ERROR", "-UNBLOCKED client unblocked via CLIENT UNBLOCK"),
        ] {
            waiter.send(&parse_line("BLPOP a b c d 0")).unwrap();
            wait_until("it waits", || blocked_clients(&mut other) == 1);
            let line = other.run(&format!("CLIENT LIST ID {id}")).text();
            assert!(line.contains(" flags=b ") && line.contains(" cmd=blpop "), "{line}");
            assert_eq!(other.run(&format!("CLIENT UNBLOCK {id}{how}")), Reply::Int(1));
            match reply {
                "*-1" => assert_eq!(waiter.recv().unwrap(), Reply::NilArray),
                error => {
                    let reply = waiter.recv().unwrap();
                    assert!(reply.is_error());
                    assert_eq!(format!("-{}", reply.text()), error);
                }
            }
            assert_eq!(blocked_clients(&mut other), 0);
        }
        assert_eq!(other.run("RPUSH a 1"), Reply::Int(1));
        assert_eq!(other.run("LLEN a"), Reply::Int(1), "nobody waits any more");
    }
    scenario(
        "A CLIENT UNBLOCK 999999
         A CLIENT UNBLOCK x
         A CLIENT UNBLOCK 1 SOMEHOW
         A CLIENT UNBLOCK -1
         A CLIENT UNBLOCK",
    );
}

#[test]
fn a_command_that_waits_is_counted_once() {
    for shards in [1, 3] {
        let server = Server::corelane(shards);
        let (mut waiter, mut other) = (server.client(), server.client());
        let calls = |other: &mut Client| {
            let info = other.run("INFO commandstats").text();
            let line = info.lines().find_map(|line| line.strip_prefix("cmdstat_blpop:"))?;
            let counts = line.split(',').filter(|field| !field.starts_with("usec"));
            Some(counts.collect::<Vec<_>>().join(","))
        };
        let id = waiter.run("CLIENT ID").int();
        for (number, end) in ["RPUSH b x", "CLIENT UNBLOCK id", "CLIENT UNBLOCK id ERROR"]
            .map(|end| end.replace("id", &id.to_string()))
            .iter()
            .enumerate()
        {
            let before = calls(&mut other);
            waiter.send(&parse_line("BLPOP a b c d 0")).unwrap();
            wait_until("it waits", || blocked_clients(&mut other) == 1);
            assert_eq!(calls(&mut other), before);
            other.run(end);
            waiter.recv().unwrap();
            let failed = usize::from(end.ends_with("ERROR"));
            let line = format!("calls={},rejected_calls=0,failed_calls={failed}", number + 1);
            assert_eq!(calls(&mut other), Some(line));
        }
        waiter.run("XGROUP CREATE s g $ MKSTREAM");
        waiter.run("XGROUP CREATE s g $");
        waiter.send(&parse_line("XREADGROUP GROUP g x BLOCK 0 STREAMS s >")).unwrap();
        wait_until("it waits", || blocked_clients(&mut other) == 1);
        other.run("XGROUP DESTROY s g");
        assert!(waiter.recv().unwrap().text().starts_with("NOGROUP"));
        let errors = other.run("INFO errorstats").text();
        for code in ["BUSYGROUP", "NOGROUP", "UNBLOCKED"] {
            assert!(errors.contains(&format!("errorstat_{code}:count=1\r\n")), "{errors}");
        }
    }
}

#[test]
fn keys_that_clients_wait_for_are_counted() {
    for shards in [1, 3] {
        let server = Server::corelane(shards);
        let mut other = server.client();
        let keys = |other: &mut Client| {
            ["total_blocking_keys", "total_blocking_keys_on_nokey"]
                .map(|name| clients_field(other, name))
        };
        for key in ["s1", "s2"] {
            other.run(&format!("XGROUP CREATE {key} g $ MKSTREAM"));
        }
        let mut waiters: Vec<Client> = Vec::new();
        for (line, count) in [
            ("BLPOP a b c 0", [3, 0]),
            ("BLPOP c b 0", [3, 0]),
            ("XREAD BLOCK 0 STREAMS s1 $", [4, 0]),
            ("XREADGROUP GROUP g x BLOCK 0 STREAMS s1 >", [4, 1]),
            ("XREADGROUP GROUP g y BLOCK 0 STREAMS s1 s2 > >", [5, 2]),
        ] {
            let mut waiter = server.client();
            waiter.send(&parse_line(line)).unwrap();
            waiters.push(waiter);
            wait_until("it waits", || blocked_clients(&mut other) == waiters.len());
            wait_until(line, || keys(&mut other) == count);
        }
        other.run("DEL s1");
        wait_until("two have their error", || keys(&mut other) == [4, 0]);
        waiters.truncate(1);
        wait_until("one is left", || keys(&mut other) == [3, 0]);
        other.run("RPUSH a x");
        wait_until("nobody is left", || keys(&mut other) == [0, 0]);
    }
}

#[test]
fn a_client_that_goes_takes_nothing_along() {
    for shards in [1, 2, 4] {
        let server = Server::corelane(shards);
        let mut other = server.client();
        for round in 0..50 {
            let mut waiter = server.client();
            // What is put back for a client that has gone comes at any time: keys of their own.
            let keys = ["a", "b", "c", "d"].map(|key| format!("{key}{round}"));
            waiter.send(&parse_line(&format!("BLPOP {} 0", keys.join(" ")))).unwrap();
            wait_until("it waits", || blocked_clients(&mut other) == 1);
            // The push and the end race with each other.
            let key = &keys[round % 4];
            let closing = std::thread::spawn(move || drop(waiter));
            other.run(&format!("RPUSH {key} x"));
            closing.join().unwrap();
            wait_until("nobody waits", || blocked_clients(&mut other) == 0);
            // Nobody has read it. It is there, or was sent to the client before it had gone.
        }
        let mut next = server.client();
        next.send(&parse_line("BLPOP a b c d 0")).unwrap();
        wait_until("it waits", || blocked_clients(&mut other) == 1);
        other.run("RPUSH d x");
        assert!(format!("{:?}", next.recv().unwrap()).contains('x'));
    }
}

#[test]
fn those_who_wait_cost_nothing() {
    let server = Server::corelane(2);
    let mut waiters: Vec<Client> = (0..100).map(|_| server.client()).collect();
    for (n, waiter) in waiters.iter_mut().enumerate() {
        waiter.send(&parse_line(&format!("BRPOP k{n} j{n} i{n} 100"))).unwrap();
    }
    let mut observer = server.client();
    wait_until("all wait", || blocked_clients(&mut observer) == 100);
    let before = server.cpu();
    std::thread::sleep(Duration::from_secs(1));
    let used = server.cpu() - before;
    assert!(used < Duration::from_millis(60), "{used:?} for a second of waiting");
    for (n, waiter) in waiters.iter_mut().enumerate() {
        observer.run(&format!("RPUSH j{n} x"));
        waiter.recv().unwrap();
    }
}

#[test]
fn a_pause_refuses_what_is_wrong_and_keeps_what_has_expired() {
    for shards in [1, 3] {
        let pair = Pair::start(shards, &[]);
        for port in [pair.redis.port, pair.corelane.port] {
            let (mut admin, mut other) = (Client::connect(port), Client::connect(port));
            let expired = |admin: &mut Client| {
                let info = admin.run("INFO stats").text();
                let line = info.lines().find(|line| line.starts_with("expired_keys:"));
                line.map(str::to_string).expect("a count")
            };
            other.run("SET fleeting x PX 1");
            assert_eq!(admin.run("CLIENT PAUSE 100000 WRITE").text(), "OK");
            assert!(other.run("SET b").text().contains("wrong number of arguments"));
            std::thread::sleep(Duration::from_millis(50));
            let before = expired(&mut admin);
            assert!(other.run("GET fleeting").is_nil());
            assert_eq!(expired(&mut admin), before);
            assert_eq!(admin.run("CLIENT UNPAUSE").text(), "OK");
        }
    }
}

#[test]
fn a_pause_covers_all_shards() {
    for shards in [1, 3] {
        let pair = Pair::start(shards, &[]);
        for port in [pair.redis.port, pair.corelane.port] {
            let (mut admin, mut other) = (Client::connect(port), Client::connect(port));
            other.run("MSET a 1 b 2 c 3");
            assert_eq!(admin.run("CLIENT PAUSE 100000 WRITE").text(), "OK");
            assert_eq!(other.run("GET a").text(), "1");
            assert_eq!(other.run("MGET a b c").items().len(), 3);
            let start = now();
            other.send(&parse_line("INCR a")).unwrap();
            other.send(&parse_line("GET a")).unwrap();
            std::thread::sleep(Duration::from_millis(150));
            assert_eq!(admin.run("GET a").text(), "1");
            let blocked = |admin: &mut Client| {
                let info = admin.run("INFO clients").text();
                let line = info.lines().find_map(|line| line.strip_prefix("blocked_clients:"));
                line.and_then(|count| count.parse().ok()).unwrap_or(99)
            };
            let mut third = Client::connect(port);
            let id = third.run("CLIENT ID").int();
            third.send(&parse_line("SET b 2")).unwrap();
            wait_until("both wait", || blocked(&mut admin) == 2);
            assert_eq!(admin.run(&format!("CLIENT KILL ID {id}")).int(), 1);
            wait_until("one is gone", || blocked(&mut admin) == 1);
            assert_eq!(admin.run("CLIENT UNPAUSE").text(), "OK");
            wait_until("none waits", || blocked(&mut admin) == 0);
            assert_eq!(other.recv().unwrap(), Reply::Int(2));
            assert_eq!(other.recv().unwrap().text(), "2");
            assert!(start.elapsed() >= Duration::from_millis(150));
            // Everything, and it ends by itself.
            let start = now();
            assert_eq!(admin.run("CLIENT PAUSE 200").text(), "OK");
            assert_eq!(other.run("GET b").text(), "2");
            let waited = start.elapsed().as_millis();
            assert!((190..1500).contains(&waited), "{waited} ms");
            // Scripts that say that they do not write go on.
            assert_eq!(admin.run("CLIENT PAUSE 100000 WRITE").text(), "OK");
            let reads = "EVAL \"#!lua flags=no-writes\\nreturn redis.call('GET','b')\" 0";
            assert_eq!(other.run(reads).text(), "2");
            other.run("MULTI");
            other.run(reads);
            assert_eq!(other.run("EXEC").items()[0].text(), "2");
            other.send(&parse_line("EVAL \"return 1\" 0")).unwrap();
            wait_until("it waits", || blocked(&mut admin) == 1);
            admin.run("CLIENT UNPAUSE");
            assert_eq!(other.recv().unwrap(), Reply::Int(1));
            // A block waits as a whole.
            other.run("MULTI");
            other.run("INCR a");
            assert_eq!(admin.run("CLIENT PAUSE 300 WRITE").text(), "OK");
            let start = now();
            other.run("EXEC");
            assert!(start.elapsed().as_millis() >= 250);
        }
    }
    scenario(
        "A CLIENT PAUSE x
         A CLIENT PAUSE -1
         A CLIENT PAUSE 0
         A CLIENT PAUSE 1 SOME
         A CLIENT PAUSE
         A CLIENT UNPAUSE
         A CLIENT UNPAUSE x",
    );
}
