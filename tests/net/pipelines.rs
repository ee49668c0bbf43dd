//! Pipelines over keys of all shards: every reply in its place, nothing lost, nothing twice.

use crate::harness::client::Ending;
use crate::harness::{Client, Cmd, Pair, Reply, Rng, Server, cases, parse_line};
use std::collections::HashMap;
use std::net::Shutdown;
use std::time::Duration;

/// What the keys of one client hold, and so what each command must reply.
#[derive(Default)]
struct Model(HashMap<String, Vec<u8>>);

impl Model {
    /// A random command on one of the client's own keys, and its reply.
    fn command(&mut self, rng: &mut Rng, owner: usize) -> (Cmd, Reply) {
        let key = format!("c{owner}:{}", rng.below(3_000));
        let counter = format!("n{owner}:{}", rng.below(500));
        let value = format!("v{}", rng.next());
        let bulk = |v: Option<&Vec<u8>>| v.map_or(Reply::NilBulk, |v| Reply::Bulk(v.clone()));
        match rng.below(6) {
            0 | 1 => {
                let cmd = Cmd::new(["SET", &key, &value]);
                self.0.insert(key, value.into_bytes());
                (cmd, Reply::Simple(b"OK".to_vec()))
            }
            2 => (Cmd::new(["GET", &key]), bulk(self.0.get(&key))),
            3 => {
                let cmd = Cmd::new(["INCR", &counter]);
                let held = self.0.entry(counter).or_insert_with(|| b"0".to_vec());
                let next = std::str::from_utf8(held).unwrap().parse::<i64>().unwrap() + 1;
                *held = next.to_string().into_bytes();
                (cmd, Reply::Int(next))
            }
            4 => {
                let keys: Vec<String> =
                    (0..5).map(|_| format!("c{owner}:{}", rng.below(3_000))).collect();
                let found = keys.iter().map(|k| bulk(self.0.get(k))).collect();
                (Cmd::new(std::iter::once("MGET".to_string()).chain(keys)), Reply::Array(found))
            }
            _ => {
                let cmd = Cmd::new(["DEL", &key]);
                (cmd, Reply::Int(i64::from(self.0.remove(&key).is_some())))
            }
        }
    }
}

/// One client's life: pipelines of random length, each checked reply by reply.
fn live(port: u16, owner: usize, rounds: usize, length: usize) -> usize {
    let mut rng = Rng::new(7_000 + owner as u64);
    let mut client = Client::connect(port);
    let mut model = Model::default();
    let mut sent = 0;
    for _ in 0..rounds {
        let (cmds, expected): (Vec<Cmd>, Vec<Reply>) =
            (0..1 + rng.below(length)).map(|_| model.command(&mut rng, owner)).unzip();
        let replies = client.pipeline(&cmds).expect("all replies");
        for (i, reply) in replies.iter().enumerate() {
            assert_eq!(*reply, expected[i], "client {owner}, reply {i} to {:?}", cmds[i]);
        }
        sent += cmds.len();
    }
    sent
}

#[test]
fn ten_thousand_commands_in_one_pipeline() {
    for shards in [1, 2, 3] {
        let server = Server::corelane(shards);
        assert!(live(server.port, 0, 4, 20_000) > 10_000);
    }
}

#[test]
fn many_clients_at_once() {
    let server = Server::corelane(3);
    let rounds = cases(30) as usize;
    let port = server.port;
    let total: usize = std::thread::scope(|scope| {
        let clients: Vec<_> =
            (0..24).map(|owner| scope.spawn(move || live(port, owner, rounds, 600))).collect();
        clients.into_iter().map(|c| c.join().unwrap()).sum()
    });
    println!("{total} commands by 24 clients, every reply in its place");
    assert!(total > 24 * rounds * 100);
}

/// Counters that all clients share: increments are neither lost nor done twice, and each client
/// sees them grow.
#[test]
fn shared_counters_add_up() {
    const CLIENTS: usize = 12;
    const EACH: usize = 5_000;
    let server = Server::corelane(3);
    let port = server.port;
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(move || {
                let mut client = Client::connect(port);
                let cmds: Vec<Cmd> = (0..EACH)
                    .map(|i| Cmd::new(["INCR".to_string(), format!("shared:{}", i % 9)]))
                    .collect();
                let replies = client.pipeline(&cmds).unwrap();
                for counter in 0..9 {
                    let seen: Vec<i64> =
                        replies.iter().skip(counter).step_by(9).map(Reply::int).collect();
                    assert!(seen.is_sorted_by(|a, b| a < b), "counter {counter} went back");
                }
            });
        }
    });
    let mut client = server.client();
    let sum: i64 =
        (0..9).map(|i| client.run(&format!("GET shared:{i}")).text().parse::<i64>().unwrap()).sum();
    assert_eq!(sum, (CLIENTS * EACH) as i64);
}

/// Errors, unknown commands and commands without keys keep their places between keyed ones.
#[test]
fn errors_keep_their_place() {
    let server = Server::corelane(3);
    let mut client = server.client();
    let mut cmds = Vec::new();
    for i in 0..2_000 {
        cmds.push(Cmd::new(["SET".to_string(), format!("k{i}"), i.to_string()]));
        cmds.push(Cmd::new(["NOSUCH".to_string(), i.to_string()]));
        cmds.push(Cmd::new(["ECHO".to_string(), i.to_string()]));
        cmds.push(Cmd::new(["GET"]));
        cmds.push(Cmd::new(["GET".to_string(), format!("k{i}")]));
        cmds.push(Cmd::new(["DBSIZE"]));
    }
    let replies = client.pipeline(&cmds).unwrap();
    for (i, six) in replies.chunks(6).enumerate() {
        let text = i.to_string();
        assert_eq!(six[0].text(), "OK");
        assert_eq!(
            six[1].text(),
            format!("ERR unknown command 'NOSUCH', with args beginning with: '{text}' ")
        );
        assert_eq!(six[2].text(), text);
        assert_eq!(six[3].text(), "ERR wrong number of arguments for 'get' command");
        assert_eq!(six[4].text(), text);
        assert_eq!(six[5], Reply::Int(i as i64 + 1), "DBSIZE sees the writes before it");
    }
}

/// Commands on the whole server between commands on keys, in one pipeline.
#[test]
fn whole_server_commands_keep_their_order() {
    let server = Server::corelane(3);
    let mut client = server.client();
    let lines = [
        "SET a 1",
        "SET b 2",
        "SET c 3",
        "DBSIZE",
        "FLUSHALL",
        "DBSIZE",
        "GET a",
        "SET a 4",
        "SWAPDB 0 1",
        "GET a",
        "SELECT 1",
        "GET a",
        "MSET a 5 b 6 c 7 d 8",
        "EXISTS a b c d e",
        "RENAME a z",
        "MGET a z",
        "FLUSHDB",
        "DBSIZE",
        "SELECT 0",
        "DBSIZE",
    ];
    let cmds: Vec<Cmd> = lines.iter().map(|l| crate::harness::parse_line(l)).collect();
    let expected = "[+OK, +OK, +OK, :3, +OK, :0, $-1, +OK, +OK, $-1, +OK, $\"4\", +OK, :4, +OK, [$-1, $\"5\"], +OK, :0, +OK, :0]";
    for _ in 0..200 {
        assert_eq!(format!("{:?}", client.pipeline(&cmds).unwrap()), expected);
    }
}

/// What follows a command that waits for other shards is read once it is their turn, and only once:
/// quotes are taken off in place, so reading a line again would find another one there.
#[test]
fn requests_behind_a_hop_are_read_once() {
    let pair = Pair::start(3, &[]);
    let mut bytes = Vec::new();
    for i in 0..300 {
        let hop = [
            "COPY a{i} b{i}",
            "RENAME b{i} c{i}",
            "MSETNX d{i} 1 e{i} 2",
            "MGET a{i} d{i} e{i}",
            "INCR n{i}",
        ][i % 5];
        let lines = format!(
            "SET a{{i}} {{i}}\r\n{hop}\r\nECHO \"a \\\\x41\\x41 \\\"q\\\"\"\r\nECHO 'it\\'s {{i}}'\r\nECHO \"\"\r\n"
        );
        bytes.extend_from_slice(lines.replace("{i}", &i.to_string()).as_bytes());
    }
    for tail in [
        "PING\r\n",
        "ECHO \"open\r\nPING\r\n",
        "COPY a1 z1\r\nOBJE\"CT ENCODING a\r\nAPPEND s x\r\n",
        "COPY a2 z2\r\n*1\r\n$x\r\nPING\r\n",
    ] {
        let outcome = |server: &Server| -> (String, Ending) {
            let mut client = server.client();
            client.run("FLUSHALL");
            client.send_raw(&bytes).unwrap();
            client.send_raw(tail.as_bytes()).unwrap();
            let _ = client.stream().shutdown(Shutdown::Write);
            let (bytes, ending) = client.drain(Duration::from_secs(10));
            (String::from_utf8_lossy(&bytes).into_owned(), ending)
        };
        let (redis, ours) = (outcome(&pair.redis), outcome(&pair.corelane));
        assert_eq!(redis.1, ours.1);
        for (number, (a, b)) in redis.0.split("\r\n").zip(ours.0.split("\r\n")).enumerate() {
            assert_eq!(a, b, "line {number} of the replies, with {tail:?} at the end");
        }
        assert_eq!(redis.0.len(), ours.0.len());
    }
}

/// What stands before a CONFIG SET in a pipeline runs by the old configuration on every shard, also
/// when its key is on its way between shards, and what stands behind it by the new one.
#[test]
fn a_configuration_takes_effect_between_the_requests_around_it() {
    let server = Server::corelane(3);
    let mut client = server.client();
    client.run("SET src value");
    let option = "CONFIG SET hash-max-listpack-entries";
    let many = "f1 1 f2 2 f3 3 f4 4 f5 5";
    let encoding = |name: &str| Reply::Bulk(name.as_bytes().to_vec());
    for round in 0..cases(100) {
        let (a, b) = (format!("a{}", round % 20), format!("b{}", round % 17));
        let set = [format!("{option} 2"), format!("MULTI\n{option} 2\nEXEC")];
        let program = format!(
            "{option} 512\nDEL {a} {b}\nCOPY src {a}\nCOPY src {b}\nDEL {a} {b}\nHSET {a} {many}\n{}\n\
             HSET {b} {many}\nOBJECT ENCODING {a}\nOBJECT ENCODING {b}",
            set[round as usize % 2]
        );
        let program: Vec<Cmd> = program.lines().map(parse_line).collect();
        let replies = client.pipeline(&program).expect("all replies");
        let encodings = &replies[replies.len() - 2..];
        assert_eq!(encodings, [encoding("listpack"), encoding("hashtable")], "round {round}");
    }
}
