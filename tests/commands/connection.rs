//! The connection's own commands: HELLO, AUTH, CLIENT, RESET and the rest.

use crate::harness::pair::{everywhere, everywhere_with};
use crate::harness::{Client, Reply, Server, wait_until};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

#[test]
fn ping_echo_and_names() {
    everywhere(
        r#"
        PING
        PING hello
        PING ""
        PING a b
        ECHO hello
        ECHO
        ECHO a b
        CLIENT GETNAME
        CLIENT SETNAME worker-1
        CLIENT GETNAME
        CLIENT SETNAME "with space"
        CLIENT SETNAME "new\nline"
        CLIENT SETNAME ""
        CLIENT GETNAME
        CLIENT SETNAME
        CLIENT ID
        CLIENT ID x
        CLIENT SETINFO LIB-NAME redis-py
        CLIENT SETINFO lib-ver 1.2.3
        CLIENT SETINFO lib-ver "1 2"
        CLIENT SETINFO foo bar
        CLIENT NO-EVICT on
        CLIENT NO-EVICT maybe
        CLIENT NO-TOUCH on
        CLIENT NO-TOUCH off
        CLIENT NO-TOUCH maybe
        CLIENT REPLY ON
        CLIENT REPLY foo
        CLIENT KILL 127.0.0.1:1
        CLIENT KILL ID 999999
        CLIENT KILL TYPE foo
        CLIENT KILL ID abc
        CLIENT KILL ADDR
        CLIENT KILL
        CLIENT FOO
        CLIENT
        "#,
    );
}

#[test]
fn hello_switches_the_protocol() {
    everywhere(
        r#"
        HELLO 2
        HELLO 3
        HELLO 2 SETNAME me
        CLIENT GETNAME
        HELLO 4
        HELLO 1
        HELLO abc
        HELLO 3 FOO
        HELLO 3 SETNAME "a b"
        HELLO 3 AUTH default
        HELLO 3 SETNAME
        HELLO
        HELLO 3
        GET missing
        CLIENT GETNAME
        RESET
        CLIENT GETNAME
        GET missing
        SELECT 3
        RESET
        RESET x
        "#,
    );
}

#[test]
fn auth_without_a_password_set() {
    everywhere("AUTH x\nAUTH default x\nAUTH nobody x\nAUTH\nAUTH a b c\nHELLO 3 AUTH default x");
}

#[test]
fn auth_with_a_password_set() {
    let servers = [
        Server::redis_with(&["--requirepass", "secret"]),
        Server::corelane_with(2, &["--requirepass", "secret"]),
    ];
    let lines = [
        "GET k",
        "PING",
        "FOO",
        "GET",
        "HELLO",
        "HELLO 3",
        "AUTH wrong",
        "AUTH default wrong",
        "AUTH nobody secret",
        "HELLO 3 AUTH default wrong",
        "RESET",
        "AUTH secret",
        "SET k v",
        "GET k",
        "RESET",
        "GET k",
        "AUTH default secret",
        "GET k",
        "AUTH wrong",
        "GET k",
        "CONFIG GET requirepass",
        "CONFIG SET requirepass other",
        "GET k",
    ];
    let transcripts = servers.each_ref().map(|server| {
        let mut client = server.client();
        let mut replies: Vec<String> =
            lines.iter().map(|l| format!("{l} => {:?}", client.run(l))).collect();
        let mut fresh = server.client();
        for line in ["AUTH secret", "AUTH other", "GET k", "QUIT"] {
            replies.push(format!("{line} => {:?}", fresh.run(line)));
        }
        let mut third = server.client();
        let hello = third.run("HELLO 3 AUTH default other SETNAME me");
        assert_eq!(hello.field("proto"), Some(&Reply::Int(3)), "{hello:?}");
        replies.push(format!("{:?}", third.run("CLIENT GETNAME")));
        replies
    });
    for (redis, ours) in transcripts[0].iter().zip(&transcripts[1]) {
        // 7.2 names the protocol version in the text of HELLO's NOAUTH, 7.0 does not.
        let redis = redis.replace("the HELLO AUTH <user>", "the HELLO <proto> AUTH <user>");
        assert_eq!(redis, *ours);
    }
}

#[test]
fn quit_answers_and_closes() {
    everywhere_with(&[], |both| {
        for client in [&mut both.redis, &mut both.corelane] {
            client.send_raw(b"SET k v\r\nQUIT\r\nSET k w\r\n").unwrap();
            let (bytes, ending) = client.drain(Duration::from_secs(5));
            assert_eq!(String::from_utf8_lossy(&bytes), "+OK\r\n+OK\r\n");
            assert_eq!(ending, crate::harness::client::Ending::Closed);
        }
        let mut after = [both.redis_port(), both.corelane_port()].map(Client::connect);
        assert_eq!(after[0].run("GET k"), after[1].run("GET k"));
    });
}

#[test]
fn replies_can_be_switched_off() {
    everywhere_with(&[], |both| {
        for client in [&mut both.redis, &mut both.corelane] {
            let wire = "CLIENT REPLY OFF\r\nSET k 1\r\nGET k\r\nFOO\r\nCLIENT REPLY ON\r\nGET k\r\n\
                        CLIENT REPLY SKIP\r\nSET k 2\r\nGET k\r\nCLIENT REPLY SKIP\r\nCLIENT REPLY ON\r\nECHO end\r\n";
            client.send_raw(wire.as_bytes()).unwrap();
            let replies: Vec<String> =
                (0..5).map(|_| format!("{:?}", client.recv().unwrap())).collect();
            assert_eq!(replies, ["+OK", "$\"1\"", "$\"2\"", "+OK", "$\"end\""]);
        }
    });
}

/// The words before `=` of a CLIENT LIST or CLIENT INFO line.
fn fields(line: &str) -> Vec<(String, String)> {
    let pairs = line.split_whitespace().filter_map(|w| w.split_once('='));
    pairs.map(|(k, v)| (k.to_string(), v.to_string())).collect()
}

#[test]
fn clients_list_themselves() {
    let redis = Server::redis();
    let corelane = Server::corelane(3);
    let of = |server: &Server| -> Vec<String> {
        fields(&server.client().run("CLIENT INFO").text()).into_iter().map(|(k, _)| k).collect()
    };
    let ours = of(&corelane);
    let missing: Vec<String> = of(&redis).into_iter().filter(|f| !ours.contains(f)).collect();
    assert!(missing.is_empty(), "CLIENT INFO lacks {missing:?}");

    let mut clients: Vec<Client> = (0..20).map(|_| corelane.client()).collect();
    let mut ids = Vec::new();
    for (i, client) in clients.iter_mut().enumerate() {
        client.run(&format!("CLIENT SETNAME c{i}"));
        client.run("SELECT 3");
        ids.push(client.run("CLIENT ID").int());
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 20, "ids are unique over the shards");
    let list = clients[0].run("CLIENT LIST").text();
    for i in 0..20 {
        let line = list.lines().find(|l| l.contains(&format!(" name=c{i} ")));
        let line = fields(line.unwrap_or_else(|| panic!("c{i} is not in\n{list}")));
        let get = |f: &str| line.iter().find(|(k, _)| k == f).map(|(_, v)| v.as_str());
        assert_eq!(get("db"), Some("3"), "{line:?}");
        assert!(get("addr").is_some_and(|a| a.starts_with("127.0.0.1:")), "{line:?}");
    }
    let two = clients[0].run(&format!("CLIENT LIST ID {} {}", ids[3], ids[4])).text();
    assert_eq!(two.lines().count(), 2, "{two}");
}

#[test]
fn clients_can_be_killed() {
    let server = Server::corelane(3);
    let mut killer = server.client();
    let mut victims: Vec<Client> = (0..8).map(|_| server.client()).collect();
    for victim in &mut victims {
        let id = victim.run("CLIENT ID").int();
        assert_eq!(killer.run(&format!("CLIENT KILL ID {id}")), Reply::Int(1));
        assert_eq!(victim.drain(Duration::from_secs(5)).1, crate::harness::client::Ending::Closed);
    }
    let mut victim = server.client();
    let address = victim.stream().local_addr().unwrap();
    victim.run("PING");
    assert_eq!(killer.run(&format!("CLIENT KILL {address}")).text(), "OK");
    assert_eq!(victim.drain(Duration::from_secs(5)).1, crate::harness::client::Ending::Closed);
    assert_eq!(killer.run(&format!("CLIENT KILL ADDR {address}")), Reply::Int(0));
    let others: Vec<Client> = (0..5)
        .map(|_| {
            let mut c = server.client();
            c.run("PING");
            c
        })
        .collect();
    assert_eq!(killer.run("CLIENT KILL TYPE normal SKIPME yes"), Reply::Int(5));
    for mut other in others {
        assert_eq!(other.drain(Duration::from_secs(5)).1, crate::harness::client::Ending::Closed);
    }
    assert_eq!(killer.run("PING").text(), "PONG");
}

/// Shards get to a request one after the other, and those who are killed come back at once.
#[test]
fn clients_that_come_back_are_not_killed_again() {
    use crate::harness::client::Ending;
    const CLIENTS: usize = 6;
    const SHORT: Duration = Duration::from_millis(50);
    let patience = Duration::from_secs(20);
    let server = Server::corelane(4);
    let mut killer = server.client();
    killer.run("EVAL 'for n = 1, 300000 do redis.call(\"RPUSH\", KEYS[1], n) end' 1 long");
    let (lives, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let live = || {
        let mut client = server.client();
        if client.send_raw(b"PING\r\n").is_ok() && client.recv().is_ok() {
            lives.fetch_add(1, SeqCst);
            let mut ending = Ending::Open;
            while ending == Ending::Open && !over.load(SeqCst) {
                ending = client.drain(SHORT).1;
            }
        }
    };
    let mut killed = Vec::new();
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                while !over.load(SeqCst) {
                    live()
                }
            });
        }
        for round in 1..=30 {
            wait_until("all are back", || lives.load(SeqCst) >= round * CLIENTS);
            // The shard that looks through this gets to the request late.
            let mut busy = server.client();
            busy.run("PING");
            busy.send_raw(b"LPOS long none MAXLEN 0\r\n").expect("it is sent");
            killed.push(killer.run("CLIENT KILL TYPE normal SKIPME yes").int());
            busy.drain(patience);
        }
        over.store(true, SeqCst);
        killer.run("CLIENT KILL TYPE normal");
    });
    assert_eq!(killed, [CLIENTS as i64 + 1; 30]);
}
