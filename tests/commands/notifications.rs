//! Keyspace events: scenarios of several clients as redis-server tells of them, the channels that
//! events come by, and the order of one key's events whoever changes it.

use crate::harness::events::{self, Listener, Message};
use crate::harness::{Client, Cmd, Reply, Rng, Server, parse_line, wait_until};
use std::collections::{BTreeMap, HashMap};

const ALL: [&str; 2] = ["--notify-keyspace-events", "KEAnm"];

/// Runs a scenario; what is heard, line by line.
///
/// A line is a client's letter and a command; `A>` sends one that is to wait, `A<` reads what it got,
/// and `-` waits until the databases are empty.
fn play(server: &Server, scenario: &str) -> Vec<Message> {
    let mut clients: BTreeMap<char, Client> = BTreeMap::new();
    let mut observer = server.client();
    observer.run("FLUSHALL");
    let mut listener = Listener::new(server);
    let mut waiting = 0;
    for line in scenario.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (letter, rest) = (line.chars().next().unwrap_or_default(), &line[1..]);
        if letter == '-' {
            wait_until("all keys have expired", || observer.run("DBSIZE") == Reply::Int(0));
            continue;
        }
        let client = clients.entry(letter).or_insert_with(|| server.client());
        if let Some(command) = rest.strip_prefix('>') {
            client.send(&parse_line(command)).expect("the server reads");
            waiting += 1;
            let blocked = waiting.to_string();
            server.wait_info("blocked_clients", &blocked);
        } else if rest.starts_with('<') {
            client.recv().expect("a reply");
            waiting -= 1;
        } else {
            client.run(rest);
        }
    }
    listener.heard()
}

/// What is heard of redis-server is heard of servers of one and of three shards.
fn agree(scenario: &str) {
    agree_in(scenario, Order::OfAll);
}

/// Which messages come in an order that is given.
#[derive(PartialEq)]
enum Order {
    OfAll,
    OfEachKey,
}

fn agree_in(scenario: &str, order: Order) {
    let expected = play(&Server::redis_with(&ALL), scenario);
    assert!(!expected.is_empty(), "nothing is told of {scenario}");
    for shards in [1, 3] {
        let heard = play(&Server::corelane_with(shards, &ALL), scenario);
        let together = order == Order::OfAll && shards == 1;
        if let Some(why) = events::difference(&expected, &heard, together) {
            panic!("{why} on {shards} shards: {expected:#?}\n{heard:#?}");
        }
    }
}

/// A bit of everything.
const EVERYTHING: &str = "
    A SET s 1
    A GET none
    A INCR s
    A EXPIRE s 100
    A PERSIST s
    A LPUSH l a b c
    A RPOP l 3
    A SADD t a b
    A SPOP t 5
    A HSET h f 1 g 2
    A HDEL h f g
    A ZADD z 1 a 2 b
    A ZINCRBY z 1 a
    A ZREMRANGEBYRANK z 0 -1
    A XADD x 1-1 a b
    A XGROUP CREATE x g 0
    A XTRIM x MAXLEN 0
    A PEXPIRE s 1
    A DEBUG SLEEP 0.003
    A GET s";

#[test]
fn each_class_is_told_of_if_it_is_wanted() {
    let redis = Server::redis();
    let servers = [1, 3].map(|shards| (shards, Server::corelane(shards)));
    for classes in
        ["g", "$", "l", "s", "h", "z", "t", "x", "n", "m", "A", "gm", "$xn", "e", "d", ""]
    {
        for channels in ["K", "E", "KE", ""] {
            let set = format!("CONFIG SET notify-keyspace-events \"{classes}{channels}\"");
            redis.client().run(&set);
            let expected = play(&redis, EVERYTHING);
            let told = !matches!(classes, "e" | "d" | "") && !channels.is_empty();
            assert_eq!(expected.is_empty(), !told, "{set}");
            for (shards, server) in &servers {
                assert_eq!(server.client().run(&set).text(), "OK");
                let heard = play(server, EVERYTHING);
                let why = events::difference(&expected, &heard, *shards == 1);
                assert_eq!(why, None, "{set} on {shards} shards: {expected:#?}\n{heard:#?}");
            }
        }
    }
}

#[test]
fn keys_expire_when_they_are_met_and_when_not() {
    agree(
        "A DEBUG SET-ACTIVE-EXPIRE 0
        A SET a 1 PX 1
        A SET b 1 PX 1
        A SET c 1 PX 1
        A SET d 1 PX 1
        A RPUSH e 1
        A PEXPIRE e 1
        A SET f 1 PX 1
        A DEBUG SLEEP 0.003
        A GET a
        A SET b 2
        A DEL c
        A LPUSH d 1
        A RENAME e g
        A TTL f
        A SET a 1 PX 1
        A SET b 1 PX 1
        A SET l 1 PX 1
        A DEBUG SLEEP 0.003
        A SINTERSTORE a b l",
    );
    // Which of them goes first is up to chance.
    let expire = "A MSET a 1 b 2 c 3 d 4
        A SELECT 3
        A SET e 5
        A PEXPIRE e 10
        A SELECT 0
        A PEXPIRE a 10
        A PEXPIRE b 10
        A PEXPIRE c 10
        A PEXPIRE d 10
        -";
    agree_in(expire, Order::OfEachKey);
}

/// `k` and `l` belong to different shards of three, as do some of the others.
#[test]
fn who_has_waited_is_served_after_the_push() {
    agree(
        "A> BLPOP k l 0
        B RPUSH l a b
        A<
        B DEL l
        A> BLPOP k l 0
        B MULTI
        B DEL l
        B RPUSH l c
        B SET m 1
        B EXEC
        A<
        A> BLMOVE k l LEFT RIGHT 0
        C> BRPOPLPUSH l m 0
        B DEL m
        B RPUSH k a
        A<
        C<
        A> BZPOPMIN y z 0
        B ZADD z 1 a 2 b
        A<
        A> BLMPOP 0 2 o p LEFT COUNT 5
        B RPUSH p 1 2 3
        A<
        B XADD w 1-1 a b
        A> XREAD BLOCK 0 STREAMS w x $ $
        B XADD x 1-1 a b
        A<",
    );
}

#[test]
fn blocks_tell_what_they_have_done() {
    agree(
        "A MSET a 1 b 2 c 3 d 4
        A MULTI
        A SET a 2
        A DEL b
        A GET b
        A INCR c
        A DEL a c
        A SET a 3
        A EXEC
        A WATCH a d
        A MULTI
        A RENAME a b
        A RENAME b c
        A COPY c a
        A DEL d d
        A MSET a 1 b 1 c 1 d 1
        A MOVE d 2
        A EXEC
        A MULTI
        A RPUSH l 1 2 3
        A LMOVE l m LEFT LEFT
        A LMOVE l m LEFT LEFT
        A LMOVE l m LEFT LEFT
        A SELECT 2
        A GET d
        A DEL d
        A SELECT 0
        A EXEC
        A MULTI
        A SET a 1
        A FLUSHALL
        A MSET a 1 b 2 c 3
        A MGET a b none
        A SWAPDB 0 1
        A DEL a b c
        A EXEC
        A MULTI
        A SET lost 1
        A DISCARD
        A WATCH a
        B SET a 1
        A MULTI
        A SET lost 1
        A EXEC",
    );
}

#[test]
fn commands_over_shards_tell_what_they_have_done() {
    agree(
        "A MSET a 1 b 2 c 3 d 4 e 5
        A MGET a none b none2
        A RENAME a b
        A RENAMENX b c
        A RENAMENX b f
        A COPY c d
        A COPY c d REPLACE
        A DEL a b c d e f none
        A MSETNX a 1 b 2 c 3
        A MSETNX c 1 d 2
        A BITOP OR a b c none
        A BITOP OR a none none2
        A SADD s 1 2 3
        A SADD t 2 3 4
        A SUNIONSTORE u s t
        A SINTERSTORE u s none
        A SMOVE s t 1
        A SMOVE s t 2
        A SMOVE s t 3
        A ZADD y 1 a 2 b
        A ZADD z 1 b
        A ZUNIONSTORE s 2 y z
        A ZDIFFSTORE s 2 z y
        A GEOADD g 13.36 38.11 a 15.08 37.5 b
        A GEOSEARCHSTORE h g FROMLONLAT 15 37 BYRADIUS 500 km
        A GEORADIUS g 15 37 500 km STORE i
        A GEOSEARCHSTORE h g FROMLONLAT 0 0 BYRADIUS 1 m
        A RPUSH l 3 1 2
        A SET w1 1
        A SORT l BY w* GET # GET v* STORE o
        A SORT none STORE o
        A PFADD p 1
        A PFADD q 2
        A PFMERGE r p q
        A EXISTS a b none
        A TOUCH a none
        A UNLINK r q none",
    );
}

/// All who listen to a channel of events get each message once, whatever shard they are connected to.
#[test]
fn channels_of_events_are_channels_like_others() {
    for shards in [1, 4] {
        let server = Server::corelane_with(shards, &ALL);
        let mut other = server.client();
        let mut listeners: Vec<Client> = (0..6).map(|_| server.client()).collect();
        for listener in &mut listeners {
            listener.run("SUBSCRIBE __keyevent@0__:set");
            listener.run("SUBSCRIBE __keyspace@0__:k1");
        }
        let numsub = other.run("PUBSUB NUMSUB __keyevent@0__:set __keyspace@0__:k1 none");
        let counts: Vec<_> = numsub.items().iter().skip(1).step_by(2).map(Reply::int).collect();
        assert_eq!(counts, [6, 6, 0]);
        assert_eq!(other.run("PUBSUB CHANNELS").items().len(), 2);
        assert_eq!(other.run("PUBSUB CHANNELS __keyevent*").items().len(), 1);
        assert_eq!(other.run("PUBSUB NUMPAT"), Reply::Int(0));
        assert_eq!(server.info("pubsub_channels").as_deref(), Some("2"));
        assert_eq!(other.run("PUBLISH __keyevent@0__:set by-hand"), Reply::Int(6));
        (0..8).for_each(|n| drop(other.run(&format!("SET k{n} v"))));
        assert_eq!(other.run("PUBLISH __keyspace@0__:k1 by-hand"), Reply::Int(6));
        for listener in &mut listeners {
            let mut heard: Vec<String> =
                (0..12).map(|_| texts(&listener.recv().expect("a message")).join(" ")).collect();
            heard.sort();
            let mut expected: Vec<String> =
                (0..8).map(|n| format!("message __keyevent@0__:set k{n}")).collect();
            expected.push("message __keyevent@0__:set by-hand".into());
            expected.extend(
                ["by-hand", "new", "set"].map(|e| format!("message __keyspace@0__:k1 {e}")),
            );
            expected.sort();
            assert_eq!(heard, expected);
            listener.run("UNSUBSCRIBE __keyevent@0__:set");
            listener.run("UNSUBSCRIBE __keyspace@0__:k1");
        }
        assert_eq!(other.run("PUBSUB CHANNELS").items().len(), 0);
        other.run("SET k1 v");
        for listener in &mut listeners {
            assert_eq!(listener.run("PING").text(), "PONG");
        }
    }
}

fn texts(reply: &Reply) -> Vec<String> {
    reply.items().iter().map(Reply::text).collect()
}

#[test]
fn the_option_is_read_and_shown_and_takes_effect_at_once() {
    let server = Server::corelane_with(2, &["--notify-keyspace-events", "Elg"]);
    let mut client = server.client();
    let shown =
        |client: &mut Client| texts(&client.run("CONFIG GET notify-keyspace-events"))[1].clone();
    assert_eq!(shown(&mut client), "glE");
    let error = client.run("CONFIG SET notify-keyspace-events KQ").text();
    let tail = "Invalid event class character. Use 'Ag$lshzxeKEtmdn'.";
    assert!(error.ends_with(tail), "{error}");
    assert_eq!(shown(&mut client), "glE");
    client.run("CONFIG SET notify-keyspace-events KEAnm");
    assert_eq!(shown(&mut client), "AKEm");
    let mut listener = Listener::new(&server);
    client.run("MSET k v l v");
    assert_eq!(listener.heard().len(), 8);
    client.run("CONFIG SET notify-keyspace-events ''");
    client.run("MSET k w l w");
    assert_eq!(listener.heard(), []);
}

/// Whether events about keys can have happened in this order: a key comes when it is not there, and
/// changes or goes when it is.
fn follow(there: &mut HashMap<Vec<u8>, bool>, message: &Message) -> Result<(), String> {
    let ((_, key), event) = message.event();
    let is_there = there.entry(key.clone()).or_insert(false);
    let event = String::from_utf8_lossy(&event[11..]).into_owned();
    let (before, after) = match event.as_str() {
        "new" => (false, true),
        "keymiss" => (false, false),
        "del" | "expired" | "rename_from" => (true, false),
        "set" | "expire" | "rename_to" | "incrby" | "lpush" | "rpush" | "lpop" | "rpop" => {
            (true, true)
        }
        other => return Err(format!("{other} is not expected")),
    };
    match *is_there == before {
        true => *is_there = after,
        // Renamed to, a key goes without a word before it comes again.
        false if event == "new" => {}
        false => return Err(format!("{event} of {} cannot be", key.escape_ascii())),
    }
    Ok(())
}

fn some_command(random: &mut Rng) -> Vec<Cmd> {
    let mut key = || format!("k{}", random.below(6));
    let (a, b, c) = (key(), key(), key());
    let line = match random.below(10) {
        0 => format!("MSET {a} 1 {b} 1 {c} 1"),
        1 => format!("DEL {a} {b} {c}"),
        2 => format!("MGET {a} {b} {c}"),
        3 => format!("SET {a} 1 PX 1"),
        4 => format!("RENAME {a} {b}"),
        5 => format!("PEXPIRE {a} 2"),
        6 => format!("EXISTS {a} {b}"),
        7 => format!("GET {a}"),
        8 => {
            let block = ["MULTI".into(), format!("SET {a} 1 PX 2"), format!("GET {b}")];
            let more = [format!("DEL {c}"), format!("INCR {a}"), "EXEC".into()];
            return block.iter().chain(&more).map(|line| parse_line(line)).collect();
        }
        _ => {
            let block = ["MULTI".into(), format!("RENAME {a} {b}"), format!("GET {c}")];
            let more = [format!("SET {c} 1"), format!("DEL {b}"), "EXEC".into()];
            return block.iter().chain(&more).map(|line| parse_line(line)).collect();
        }
    };
    vec![parse_line(&line)]
}

#[test]
fn events_of_a_key_come_in_their_order_whoever_changes_it() {
    const CLIENTS: u64 = 6;
    const COMMANDS: usize = 1_500;
    let server = Server::corelane_with(4, &["--notify-keyspace-events", "KAnm"]);
    let mut listeners: Vec<Listener> = (0..3).map(|_| Listener::new(&server)).collect();
    std::thread::scope(|scope| {
        for n in 0..CLIENTS {
            let mut client = server.client();
            scope.spawn(move || {
                let mut random = Rng::new(n);
                for _ in 0..COMMANDS / 10 {
                    let commands: Vec<Cmd> =
                        (0..10).flat_map(|_| some_command(&mut random)).collect();
                    client.pipeline(&commands).expect("all replies");
                }
            });
        }
    });
    for listener in &mut listeners {
        let (heard, mut there) = (listener.heard(), HashMap::new());
        assert!(heard.len() > COMMANDS, "{}", heard.len());
        for (at, message) in heard.iter().enumerate() {
            if let Err(why) = follow(&mut there, message) {
                panic!("{why}, the {at}th message: {:#?}", own(&heard[..=at], message));
            }
        }
    }
}

/// The messages about the key of the last one.
fn own(messages: &[Message], last: &Message) -> Vec<Message> {
    let key = last.event().0;
    let own: Vec<Message> = messages.iter().filter(|m| m.event().0 == key).cloned().collect();
    own[own.len().saturating_sub(12)..].to_vec()
}
