//! EVAL, SCRIPT, FUNCTION, FCALL.

use crate::harness::pair::everywhere;
use crate::harness::{Client, Cmd, Reply, Server, cases, now, wait_until};

#[test]
fn replies_become_values_and_back() {
    everywhere(
        r#"
        EVAL "return 1" 0
        EVAL "return {1, 2, {3, 'x'}, redis.status_reply('FINE'), false, 3.7, -3.7, true}" 0
        EVAL "return {1, nil, 3}" 0
        EVAL "return" 0
        EVAL "return {err='MY own'}" 0
        EVAL "return redis.error_reply('own')" 0
        EVAL "return redis.error_reply('-OWN text')" 0
        EVAL "return {ok='fine'}" 0
        EVAL "return {KEYS[1], KEYS[2], KEYS[3], ARGV[1], #KEYS, #ARGV}" 2 a b c d
        SET a 10
        RPUSH l x y z
        HSET h f 1 g 2
        ZADD z 1.5 a 2 b
        EVAL "return redis.call('incr', 'a')" 0
        EVAL "return {redis.call('get', 'none'), redis.call('lrange', 'l', 0, -1), redis.call('set', 'b', 'c')}" 0
        EVAL "return redis.call('get', 'none') == false" 0
        EVAL "return redis.call('set', 'b', 5)['ok']" 0
        EVAL "return redis.call('zrange', 'z', 0, -1, 'withscores')" 0
        EVAL "redis.setresp(3); return redis.call('zscore', 'z', 'a')" 0
        EVAL "redis.setresp(3); return redis.call('zscore', 'z', 'a')['double'] + 1" 0
        EVAL "redis.setresp(3); return redis.call('hgetall', 'h')['map']['f']" 0
        EVAL "redis.setresp(3); return redis.call('get', 'none') == nil" 0
        EVAL "return {map={a=1}}" 0
        EVAL "return {double=1.5}" 0
        EVAL "return {set={x=true}}" 0
        EVAL "return {big_number='123456789012345678901234567890'}" 0
        EVAL "return {verbatim_string={format='txt', string='text'}}" 0
        EVAL "redis.setresp(3); return {double=1.5}" 0
        EVAL "redis.setresp(3); return {map={a=1}}" 0
        EVAL "redis.setresp(4)" 0
        "#,
    );
}

#[test]
fn errors_say_where_and_why() {
    everywhere(
        r#"
        SET s string
        EVAL "return redis.call('nosuch')" 0
        EVAL "return redis.call('get')" 0
        EVAL "return redis.call('config')" 0
        EVAL "return redis.call('config', 'nosuch')" 0
        EVAL "return redis.call('subscribe', 'x')" 0
        EVAL "return redis.call('eval', 'return 1', 0)" 0
        EVAL "return redis.call('multi')" 0
        EVAL "return redis.call()" 0
        EVAL "return redis.call(nil)" 0
        EVAL "return redis.call('get', {})" 0
        EVAL "return redis.pcall('incr', 's')" 0
        EVAL "return redis.call('incr', 's')" 0
        EVAL "return redis.pcall('incr', 's')['err']" 0
        EVAL "return {pcall(redis.call, 'incr', 's')}" 0
        EVAL "local e = redis.pcall('incr', 's'); redis.call('set', 't', '1'); return e" 0
        GET t
        EVAL "error('x')" 0
        EVAL "error({err='E x'})" 0
        EVAL "error()" 0
        EVAL "local x = nil; return x.y" 0
        EVAL "syntax error" 0
        EVAL "return 1" x
        EVAL "return 1" 3
        EVAL "return 1" -1
        EVAL "x = 1" 0
        EVAL "return x" 0
        EVAL "redis.call = 1" 0
        EVAL "string.format = 1" 0
        EVAL_RO "return redis.call('set', 'a', 'b')" 1 a
        EVAL_RO "return redis.call('get', 's')" 0
        EVAL "\#!lua flags=no-writes\nreturn redis.call('set', 'a', 'b')" 1 a
        EVAL "\#!lua flags=nosuch\nreturn 1" 0
        EVAL "\#!python\nreturn 1" 0
        EVAL_RO "\#!lua\nreturn 1" 0
        EVALSHA ffff 0
        EVALSHA 0123456789012345678901234567890123456789 0
        EVALSHA_RO 0123456789012345678901234567890123456789 0
        "#,
    );
}

#[test]
fn known_scripts_run_by_their_sha() {
    everywhere(
        r#"
        SCRIPT FLUSH
        SCRIPT EXISTS e0e1f9fabfc9d4800c877a703b823ac0578ff8db
        EVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff8db 0
        SCRIPT LOAD "return 1"
        SCRIPT LOAD "not lua"
        EVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff8db 0
        EVALSHA E0E1F9FABFC9D4800C877A703B823AC0578FF8DB 0
        EVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff8db 7
        SCRIPT EXISTS e0e1f9fabfc9d4800c877a703b823ac0578ff8db nosuch
        EVAL "return redis.sha1hex('return 2')" 0
        EVAL "return 2" 0
        EVALSHA 7f923f79fe76194c868d7e1d0820de36700eb649 0
        SCRIPT FLUSH SOMETIMES
        SCRIPT FLUSH SYNC
        EVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff8db 0
        SCRIPT KILL
        SCRIPT NOSUCH
        SCRIPT
        MULTI
        SCRIPT LOAD "return 3"
        EVALSHA f1a2cbe1f1b1e9d9d2d9bd2c1b7a9b0d7b4fd5c8 0
        EVAL "return redis.call('set', 'in', 'multi')" 0
        EXEC
        GET in
        "#,
    );
}

#[test]
fn keys_need_not_be_declared() {
    everywhere(
        r#"
        MSET a 1 b 2 c 3
        EVAL "return redis.call('mget', 'a', 'b', 'c', 'd')" 0
        EVAL "return redis.call('mset', 'x', 1, 'y', 2, 'z', 3)" 0
        MGET x y z
        EVAL "for i = 1, 50 do redis.call('set', 'k' .. i, i) end; return redis.call('dbsize')" 0
        EVAL "return \#redis.call('keys', 'k*')" 0
        EVAL "local n, c = 0, '0'; repeat local r = redis.call('scan', c, 'count', 7); c = r[1]; n = n + \#r[2] until c == '0'; return n" 0
        EVAL "return redis.call('rename', 'k1', 'k77')" 0
        EVAL "return {redis.call('exists', 'k1'), redis.call('get', 'k77')}" 0
        SADD s1 a b c
        SADD s2 b c d
        EVAL "redis.call('sunionstore', 's3', 's1', 's2'); return redis.call('scard', 's3')" 0
        RPUSH l1 a b c
        EVAL "return redis.call('rpoplpush', 'l1', 'l2')" 0
        EVAL "redis.call('select', 3); redis.call('set', 'there', 1); return redis.call('dbsize')" 0
        EXISTS there
        SELECT 3
        EXISTS there
        SELECT 0
        EVAL "return redis.call('publish', 'nobody', 'hears')" 0
        EVAL "return redis.call('swapdb', 0, 3)" 0
        EXISTS there
        EVAL "redis.call('flushall'); return redis.call('dbsize')" 0
        MULTI
        SET a 1
        EVAL "return redis.call('get', 'a') .. redis.call('incr', 'b')" 0
        GET b
        EXEC
        WATCH b
        EVAL "return redis.call('incr', 'b')" 0
        MULTI
        GET b
        EXEC
        "#,
    );
}

#[test]
fn functions_live_in_libraries() {
    everywhere(
        r#"
        FUNCTION FLUSH
        FUNCTION LOAD "\#!lua name=lib\nredis.register_function('f', function(keys, args) return redis.call('set', keys[1], args[1]) end)\nredis.register_function{function_name='g', callback=function(keys, args) return redis.call('get', keys[1]) end, flags={'no-writes'}, description='reads'}"
        FCALL f 1 k v
        FCALL F 1 k w
        FCALL g 1 k
        FCALL_RO g 1 k
        FCALL_RO f 1 k v
        FCALL nosuch 0
        FCALL f x
        FCALL f 2 a
        FUNCTION LOAD "\#!lua name=lib\nreturn 1"
        FUNCTION LOAD REPLACE "\#!lua name=lib\nreturn 1"
        FUNCTION LOAD "return 1"
        FUNCTION LOAD "\#!lua name=other\nredis.register_function('f', function() end)"
        FUNCTION LOAD "\#!lua name=other\nredis.call('set', 'a', 'b')"
        FUNCTION STATS
        FUNCTION LIST LIBRARYNAME nosuch
        FUNCTION DELETE nosuch
        FUNCTION DELETE lib
        FCALL f 1 k v
        FUNCTION RESTORE nothing
        FUNCTION KILL
        FUNCTION NOSUCH
        "#,
    );
}

/// A server on which scripts are slow after so many milliseconds.
fn impatient(shards: usize) -> Server {
    Server::corelane_with(shards, &["--busy-reply-threshold", "100"])
}

fn busy(reply: &Reply) -> bool {
    matches!(reply, Reply::Error(text) if text.starts_with(b"BUSY "))
}

/// Waits until a script that was sent is slow.
fn wait_until_slow(server: &Server, key: &str) {
    wait_until("the script is slow", || busy(&server.client().call(&Cmd::new(["GET", key]))));
}

#[test]
fn a_script_that_loops_is_ended() {
    for shards in [1, 3] {
        let server = impatient(shards);
        let mut other = server.client();
        assert_eq!(other.run("SET a 1").text(), "OK");
        for body in [
            "redis.call('keys', '*'); while true do end",
            "redis.call('get', 'a'); while true do end",
        ] {
            let mut slow = server.client();
            slow.send(&Cmd::new(["EVAL", body, "0"])).expect("the server reads");
            wait_until_slow(&server, "a");
            assert!(busy(&other.run("GET a")) && busy(&other.run("SET b 1")));
            assert_eq!(other.run("MULTI").text(), "OK");
            assert!(busy(&other.run("DBSIZE")));
            assert!(other.run("EXEC").is_error());
            assert!(other.run("FUNCTION KILL").is_error());
            assert_eq!(other.run("SCRIPT KILL").text(), "OK");
            let ended = slow.recv().expect("an answer").text();
            assert!(ended.contains("Script killed by user with SCRIPT KILL"), "{ended}");
            assert_eq!(other.run("GET a").text(), "1");
            assert_eq!(slow.run("GET a").text(), "1", "its connection goes on");
            assert!(other.run("SCRIPT KILL").text().starts_with("NOTBUSY"));
        }
    }
}

#[test]
fn a_script_that_has_written_runs_to_its_end() {
    for shards in [1, 3] {
        let server = impatient(shards);
        let body = "redis.call('set', 'a', 'half'); local t = 0; \
                    for i = 1, 4e7 do t = t + i % 7 end; redis.call('set', 'a', 'whole'); return t";
        let (mut slow, mut other) = (server.client(), server.client());
        assert_eq!(other.run("PING").text(), "PONG");
        slow.send(&Cmd::new(["EVAL", body, "0"])).expect("the server reads");
        // What its own connection sends meanwhile waits for it.
        slow.send(&Cmd::new(["GET", "a"])).expect("the server reads");
        wait_until_slow(&server, "a");
        let killed = other.run("SCRIPT KILL").text();
        assert!(killed.starts_with("UNKILLABLE") || killed.starts_with("NOTBUSY"), "{killed}");
        assert!(matches!(slow.recv().expect("an answer"), Reply::Int(_)));
        assert_eq!(slow.recv().expect("an answer").text(), "whole");
        assert_eq!(other.run("GET a").text(), "whole");
    }
}

/// While one shard is busy with a script on its own keys, the others serve theirs.
#[test]
fn other_shards_go_on() {
    let server = impatient(3);
    let mut clients: Vec<Client> = (0..6).map(|_| server.client()).collect();
    let keys: Vec<String> = (0..30).map(|n| format!("key:{n}")).collect();
    for key in &keys {
        assert_eq!(clients[0].run(&format!("SET {key} v")).text(), "OK");
    }
    let mut slow = server.client();
    let body = "redis.call('get', KEYS[1]); while true do end";
    slow.send(&Cmd::new(["EVAL", body, "1", &keys[0]])).expect("the server reads");
    wait_until_slow(&server, &keys[0]);
    // Of the clients, some are on shards that go on; these reach the keys of those.
    let mut served = 0;
    for client in &mut clients {
        let answers: Vec<Reply> =
            keys.iter().map(|key| client.run(&format!("GET {key}"))).collect();
        served = served.max(answers.iter().filter(|reply| !busy(reply)).count());
        assert!(busy(&answers[0]), "{:?}", answers[0]);
    }
    assert!((5..25).contains(&served), "{served} of {} keys were served", keys.len());
    assert_eq!(clients[0].run("SCRIPT KILL").text(), "OK");
    assert!(slow.recv().expect("an answer").is_error());
}

/// A counter in one key and its history in others, all by scripts that do not declare them.
#[test]
fn scripts_at_once_are_one_after_the_other() {
    let server = Server::corelane(4);
    let body = "local n = redis.call('incr', 'counter'); redis.call('set', 'at:' .. n, ARGV[1]); \
                redis.call('rpush', 'by:' .. ARGV[1], n); \
                if redis.call('exists', 'at:' .. (n - 1)) == 0 then return -n end; return n";
    let rounds = 200 * cases(1) as usize;
    let start = now();
    std::thread::scope(|scope| {
        for client in 0..6 {
            let server = &server;
            scope.spawn(move || {
                let mut talk = server.client();
                let name = client.to_string();
                for _ in 0..rounds {
                    let n = talk.call(&Cmd::new(["EVAL", body, "0", &name])).int();
                    assert!(n > 0 || n == -1, "{n}: the one before is not whole");
                }
            });
        }
    });
    println!("{} scripts in {:?}", 6 * rounds, now().duration_since(start));
    let mut client = server.client();
    assert_eq!(client.run("GET counter").text(), (6 * rounds).to_string());
    let listed: i64 = (0..6).map(|name| client.run(&format!("LLEN by:{name}")).int()).sum();
    assert_eq!(listed as usize, 6 * rounds);
}

/// What a script publishes, and what it sees of those who listen, is the same wherever the channels are.
#[test]
fn scripts_publish_to_channels_of_any_shard() {
    for shards in [1, 3] {
        let server = Server::corelane(shards);
        let names: Vec<String> = (0..6).map(|n| format!("channel:{n}")).collect();
        let mut listener = server.client();
        for name in &names {
            listener.run(&format!("SUBSCRIBE {name}"));
        }
        let mut client = server.client();
        let body = "local sum = 0; for i, name in ipairs(ARGV) do \
                    sum = sum + redis.call('publish', name, 'message ' .. i) end; \
                    return {sum, redis.call('pubsub', 'numsub', unpack(ARGV))}";
        let mut words = vec!["EVAL", body, "0"];
        words.extend(names.iter().map(String::as_str));
        let reply = client.call(&Cmd::new(&words));
        assert_eq!(reply.items()[0].int(), 6);
        let counts = reply.items()[1].items();
        assert!(counts.chunks(2).zip(&names).all(|(pair, name)| pair[0].text() == *name));
        assert!(counts.chunks(2).all(|pair| pair[1].int() == 1), "{counts:?}");
        let mut heard: Vec<String> = (0..6)
            .map(|_| listener.recv().expect("a message"))
            .map(|message| message.items().iter().map(Reply::text).collect::<Vec<_>>().join(" "))
            .collect();
        heard.sort();
        let expected: Vec<String> =
            (0..6).map(|n| format!("message channel:{n} message {}", n + 1)).collect();
        assert_eq!(heard, expected, "with {shards} shards");
    }
}
