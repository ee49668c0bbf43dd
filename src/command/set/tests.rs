use crate::command::testing::Bench;
use crate::data::Encoding;
use crate::resp::Protocol;
use std::collections::BTreeSet;

/// The bulk strings of a reply, in order.
fn members(reply: &str) -> Vec<String> {
    let mut lines = reply.split("\r\n");
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        if line.starts_with('$') && line != "$-1" {
            found.extend(lines.next().map(str::to_string));
        }
    }
    found
}

fn sorted(reply: &str) -> Vec<String> {
    let mut members = members(reply);
    members.sort();
    members
}

fn encoding(bench: &mut Bench, key: &str) -> String {
    members(&bench.run(&format!("OBJECT ENCODING {key}"))).concat()
}

fn filled(bench: &mut Bench, key: &str, range: std::ops::Range<usize>, prefix: &str) {
    for n in range {
        bench.run(&format!("SADD {key} {prefix}{n}"));
    }
}

#[test]
fn members_come_and_go() {
    let mut bench = Bench::new();
    assert_eq!(bench.run("SADD s a b a c"), ":3\r\n");
    assert_eq!(bench.run("SADD s a d"), ":1\r\n");
    assert_eq!(bench.run("SCARD s"), ":4\r\n");
    assert_eq!(bench.run("SCARD none"), ":0\r\n");
    assert_eq!(bench.run("SISMEMBER s a"), ":1\r\n");
    assert_eq!(bench.run("SISMEMBER none a"), ":0\r\n");
    assert_eq!(bench.run("SMISMEMBER s a x b"), "*3\r\n:1\r\n:0\r\n:1\r\n");
    assert_eq!(bench.run("SMISMEMBER none a x"), "*2\r\n:0\r\n:0\r\n");
    assert_eq!(sorted(&bench.run("SMEMBERS s")), ["a", "b", "c", "d"]);
    assert_eq!(bench.run("SMEMBERS none"), "*0\r\n");
    assert_eq!(bench.run("TYPE s"), "+set\r\n");
    assert_eq!(bench.run("SREM s a x b b"), ":2\r\n");
    assert_eq!(bench.run("SREM s c d e"), ":2\r\n");
    assert_eq!((bench.run("EXISTS s").as_str(), bench.keys(0)), (":0\r\n", 0));
    assert_eq!(bench.run("SREM s c"), ":0\r\n");
    bench.caller.protocol = Protocol::Resp3;
    bench.run("SADD s 3 1 2");
    assert_eq!(bench.run("SMEMBERS s"), "~3\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n");
    assert_eq!(bench.run("SPOP none 2"), "~0\r\n");
    assert_eq!(bench.run("SRANDMEMBER none 2"), "*0\r\n");
    assert_eq!(bench.run("SPOP none"), "_\r\n");
}

#[test]
fn other_types_are_refused_and_stay() {
    let mut bench = Bench::new();
    bench.run("SET t 1");
    bench.run("SADD s a");
    let wrong = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";
    for command in [
        "SADD t a",
        "SREM t a",
        "SMOVE t s a",
        "SMOVE s t a",
        "SISMEMBER t a",
        "SMISMEMBER t a",
        "SCARD t",
        "SMEMBERS t",
        "SSCAN t 0",
        "SPOP t",
        "SPOP t 0",
        "SRANDMEMBER t",
        "SRANDMEMBER t 0",
        "SINTER none t",
        "SINTERCARD 2 none t",
        "SINTERSTORE d none t",
        "SUNION s t",
        "SUNIONSTORE s s t",
        "SDIFF none t",
        "SDIFFSTORE s s t",
        "GET s",
    ] {
        assert_eq!(bench.run(command), wrong, "{command}");
    }
    assert_eq!(bench.run("SMOVE none t a"), ":0\r\n");
    assert_eq!(bench.run("SMEMBERS s"), "*1\r\n$1\r\na\r\n");
    assert_eq!(bench.run("SUNIONSTORE t s"), ":1\r\n");
    assert_eq!(bench.run("TYPE t"), "+set\r\n");
}

#[test]
fn a_move_is_complete_or_nothing() {
    let mut bench = Bench::new();
    bench.run("SADD a x y");
    assert_eq!(bench.run("SMOVE a b x"), ":1\r\n");
    assert_eq!(bench.run("SMOVE a b x"), ":0\r\n");
    assert_eq!(bench.run("SMOVE a a y"), ":1\r\n");
    assert_eq!(bench.run("SMOVE a a z"), ":0\r\n");
    bench.run("SADD b y");
    assert_eq!(bench.run("SMOVE a b y"), ":1\r\n");
    assert_eq!(sorted(&bench.run("SMEMBERS b")), ["x", "y"]);
    assert_eq!(bench.run("EXISTS a"), ":0\r\n");
    bench.run("SADD n 1");
    bench.run("SMOVE n m 1");
    assert_eq!(encoding(&mut bench, "m"), "intset");
}

#[test]
fn changes_are_counted() {
    let mut bench = Bench::new();
    let mut changes = |command: &str| {
        let before = bench.shard.stats.changes.get();
        bench.run(command);
        bench.shard.stats.changes.get() - before
    };
    for (command, count) in [
        ("SADD a x y z", 3),
        ("SADD a x", 0),
        ("SREM a x none", 1),
        ("SMOVE a b y", 2),
        ("SADD a y", 1),
        ("SMOVE a b y", 1),
        ("SMOVE a b none", 0),
        ("SMEMBERS b", 0),
        ("SUNIONSTORE c a b", 1),
        ("SINTERSTORE c a none", 1),
        ("SINTERSTORE c a none", 0),
        ("SADD d 1 2 3 4 5", 5),
        ("SPOP d 2", 2),
        ("SPOP d", 1),
        ("SPOP d 0", 0),
        ("SPOP d 9", 2),
        ("SPOP d", 0),
    ] {
        assert_eq!(changes(command), count, "{command}");
    }
}

#[test]
fn sets_are_combined() {
    let mut bench = Bench::new();
    bench.run("SADD a 1 2 3 4");
    bench.run("SADD b 3 4 5 word");
    filled(&mut bench, "big", 0..1000, "");
    for (command, result) in [
        ("SINTER a", "1 2 3 4"),
        ("SINTER a b", "3 4"),
        ("SINTER b a big a", "3 4"),
        ("SINTER a none", ""),
        ("SINTER a a", "1 2 3 4"),
        ("SUNION a b none", "1 2 3 4 5 word"),
        ("SUNION none", ""),
        ("SDIFF a b", "1 2"),
        ("SDIFF a a", ""),
        ("SDIFF b big", "word"),
        ("SDIFF b none a a", "5 word"),
        ("SDIFF none a", ""),
    ] {
        let expected: Vec<_> = result.split_whitespace().collect();
        assert_eq!(sorted(&bench.run(command)), expected, "{command}");
        let (name, keys) = command.split_once(' ').unwrap();
        let stored = bench.run(&format!("{name}STORE to {keys}"));
        assert_eq!(stored, format!(":{}\r\n", expected.len()), "{command}");
        assert_eq!(sorted(&bench.run("SMEMBERS to")), expected, "{command}");
        assert_eq!(bench.run("EXISTS to"), format!(":{}\r\n", i32::from(!expected.is_empty())));
    }
    assert_eq!(bench.run("SINTERCARD 2 a b"), ":2\r\n");
    assert_eq!(bench.run("SINTERCARD 2 a big LIMIT 3"), ":3\r\n");
    assert_eq!(bench.run("SINTERCARD 2 a big limit 0"), ":4\r\n");
    assert_eq!(bench.run("SINTERCARD 2 a none"), ":0\r\n");
    // The result may be one of the sources.
    assert_eq!(bench.run("SUNIONSTORE a a b"), ":6\r\n");
    assert_eq!(bench.run("SDIFFSTORE a b a"), ":0\r\n");
    assert_eq!(bench.run("EXISTS a"), ":0\r\n");
}

#[test]
fn a_difference_is_the_same_by_either_way() {
    let mut bench = Bench::new();
    filled(&mut bench, "a", 0..300, "m");
    let mut keys = String::new();
    for part in 0..20 {
        filled(&mut bench, &format!("p{part}"), part * 14..part * 14 + 14, "m");
        keys += &format!(" p{part}");
    }
    // Twenty small sets are taken out of a copy; one is looked through.
    assert_eq!(bench.run(&format!("SDIFFSTORE d a{keys}")), ":20\r\n");
    assert_eq!(sorted(&bench.run("SMEMBERS d"))[0], "m280");
    assert_eq!(encoding(&mut bench, "d"), "hashtable");
    assert_eq!(bench.run("SDIFFSTORE d a p0"), ":286\r\n");
    assert_eq!(bench.run(&format!("SDIFF p0 p1{keys}")), "*0\r\n");
}

#[test]
fn results_have_the_form_that_suits_them() {
    let mut bench = Bench::new();
    bench.run("SADD ints 1 2 3");
    bench.run("SADD mixed 1 2 x");
    filled(&mut bench, "words", 0..300, "w");
    filled(&mut bench, "numbers", 0..600, "");
    for (command, encoding_name) in [
        ("SUNIONSTORE to ints", "intset"),
        ("SUNIONSTORE to ints mixed", "listpack"),
        ("SUNIONSTORE to words ints", "hashtable"),
        ("SUNIONSTORE to numbers", "hashtable"),
        ("SINTERSTORE to ints mixed", "intset"),
        ("SINTERSTORE to mixed mixed", "listpack"),
        ("SINTERSTORE to numbers numbers ints", "intset"),
        ("SINTERSTORE to words words", "hashtable"),
        ("SDIFFSTORE to mixed ints", "listpack"),
        ("SDIFFSTORE to ints mixed", "intset"),
    ] {
        bench.run(command);
        assert_eq!(encoding(&mut bench, "to"), encoding_name, "{command}");
    }
}

#[test]
fn limits_come_from_the_configuration() {
    let mut bench = Bench::new();
    bench.shard.settings.encodings.set_max_intset_entries = 2;
    bench.shard.settings.encodings.set_max_listpack_entries = 3;
    bench.shard.settings.encodings.set_max_listpack_value = 4;
    for (command, encoding_name) in [
        ("SADD a 1 2", "intset"),
        ("SADD b 1 2 3", "listpack"),
        ("SADD c a b c", "listpack"),
        ("SADD d a b c d", "hashtable"),
        ("SADD e abcde", "hashtable"),
        ("SADD a 1 2 1", "hashtable"),
    ] {
        bench.run(command);
        let key = command.split(' ').nth(1).unwrap();
        assert_eq!(encoding(&mut bench, key), encoding_name, "{command}");
    }
}

#[test]
fn chance_takes_members_only() {
    let mut bench = Bench::new();
    for (key, range, prefix) in [("i", 0..100, ""), ("l", 0..100, "w"), ("t", 0..300, "w")] {
        filled(&mut bench, key, range.clone(), prefix);
        let all: BTreeSet<_> =
            members(&bench.run(&format!("SMEMBERS {key}"))).into_iter().collect();
        for (count, len) in [(0, 0), (1, 1), (7, 7), (99, 99), (1000, all.len())] {
            let found = members(&bench.run(&format!("SRANDMEMBER {key} {count}")));
            let distinct: BTreeSet<_> = found.iter().cloned().collect();
            assert_eq!((found.len(), distinct.len()), (len, len));
            assert!(distinct.is_subset(&all));
        }
        let again = members(&bench.run(&format!("SRANDMEMBER {key} -1000")));
        assert_eq!(again.len(), 1000);
        assert!(again.iter().all(|member| all.contains(member)));
        let mut gone = BTreeSet::new();
        for count in [0, 3, 80] {
            let popped = members(&bench.run(&format!("SPOP {key} {count}")));
            assert_eq!(popped.len(), count);
            gone.extend(popped);
        }
        gone.extend(members(&bench.run(&format!("SPOP {key}"))));
        assert_eq!(gone.len(), 84);
        gone.extend(members(&bench.run(&format!("SPOP {key} 1000"))));
        assert_eq!(gone, all);
    }
    assert_eq!(bench.keys(0), 0);
}

#[test]
fn a_pop_keeps_the_time_to_live() {
    let mut bench = Bench::new();
    filled(&mut bench, "t", 0..300, "w");
    bench.run("PEXPIRE t 5000");
    assert_eq!(members(&bench.run("SPOP t 290")).len(), 290);
    assert_eq!(bench.run("PTTL t"), ":5000\r\n");
    assert_eq!(encoding(&mut bench, "t"), "listpack");
}

#[test]
fn wrong_arguments_are_told() {
    let mut bench = Bench::new();
    bench.run("SADD s a b");
    let between = "value is out of range, value must between -9223372036854775807 and \
                   9223372036854775807";
    for (command, error) in [
        ("SPOP s -1", "value is out of range, must be positive"),
        ("SPOP none x", "value is out of range, must be positive"),
        ("SPOP s 1 2", "syntax error"),
        ("SRANDMEMBER s 1 2", "syntax error"),
        ("SRANDMEMBER s x", "value is not an integer or out of range"),
        ("SRANDMEMBER s -9223372036854775808", between),
        ("SRANDMEMBER s -9223372036854775807", "value is out of range"),
        ("SINTERCARD 0 s", "numkeys should be greater than 0"),
        ("SINTERCARD x s", "numkeys should be greater than 0"),
        ("SINTERCARD 2 s", "Number of keys can't be greater than number of args"),
        ("SINTERCARD 1 s LIMIT", "syntax error"),
        ("SINTERCARD 1 s s", "syntax error"),
        ("SINTERCARD 1 s LIMIT -1", "LIMIT can't be negative"),
        ("SINTERCARD 1 s LIMIT x", "LIMIT can't be negative"),
        ("SSCAN s x", "invalid cursor"),
        ("SSCAN none x", "invalid cursor"),
        ("SSCAN s 0 TYPE set", "syntax error"),
        ("SSCAN s 0 COUNT 0", "syntax error"),
    ] {
        assert_eq!(bench.run(command), format!("-ERR {error}\r\n"), "{command}");
    }
    assert_eq!(bench.run("SSCAN none 5 COUNT x"), "*2\r\n$1\r\n0\r\n*0\r\n");
}

#[test]
fn a_walk_meets_every_member_that_stays() {
    let mut bench = Bench::new();
    filled(&mut bench, "s", 0..1000, "stay:");
    let (mut cursor, mut seen, mut n) = ("0".to_string(), BTreeSet::new(), 0);
    loop {
        let mut found = members(&bench.run(&format!("SSCAN s {cursor} COUNT 20"))).into_iter();
        cursor = found.next().unwrap();
        seen.extend(found.filter(|member| member.starts_with("stay")));
        if cursor == "0" {
            break;
        }
        // Growth in the first half of the walk, shrinking in the second.
        for _ in 0..100 {
            let verb = if n < 2500 { "SADD" } else { "SREM" };
            bench.run(&format!("{verb} s go:{}", n % 2500));
            n += 1;
        }
    }
    assert_eq!(seen.len(), 1000);
    bench.run("SADD small 1 2 33");
    let found = sorted(&bench.run("SSCAN small 0 COUNT 1"));
    assert_eq!(found, ["0", "1", "2", "33"]);
    assert_eq!(sorted(&bench.run("SSCAN small 0 MATCH 3*")), ["0", "33"]);
    assert_eq!(sorted(&bench.run("SSCAN s 0 MATCH stay:7 COUNT 100000")), ["0", "stay:7"]);
}

#[test]
fn copies_and_encodings_are_those_of_sets() {
    let mut bench = Bench::new();
    filled(&mut bench, "t", 0..300, "a-longer-word-");
    assert_eq!(bench.run("COPY t u"), ":1\r\n");
    bench.run("SREM t x");
    assert_eq!(bench.run("SDIFF t u"), "*0\r\n");
    assert_eq!(encoding(&mut bench, "u"), Encoding::Hashtable.name());
    let usage: usize = bench.run("MEMORY USAGE u")[1..].trim().parse().unwrap();
    assert!((300 * 25..300 * 45).contains(&usage), "{usage}");
}
