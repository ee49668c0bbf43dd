//! Users, what they may do, and what becomes of their connections.

use crate::harness::client::Ending;
use crate::harness::pair::everywhere;
use crate::harness::{Client, Cmd, Reply, Server, wait_until};
use std::collections::BTreeSet;
use std::time::Duration;

/// A connection that is logged in.
fn client_as(server: &Server, user: &str, password: &str) -> Client {
    let mut client = server.client();
    assert_eq!(client.run(&format!("AUTH {user} {password}")).text(), "OK");
    client
}

fn ok(client: &mut Client, line: &str) {
    assert_eq!(client.run(line).text(), "OK", "{line}");
}

#[test]
fn users_are_made_changed_and_told_of() {
    everywhere(
        r#"
        ACL WHOAMI
        ACL USERS
        ACL DELUSER default
        ACL DELUSER nobody default
        ACL DELUSER nobody
        ACL GETUSER nobody
        ACL SETUSER "a b"
        ACL SETUSER ann foo
        ACL SETUSER ann +nosuch
        ACL SETUSER ann +@nosuch
        ACL SETUSER ann ~* ~a
        ACL SETUSER ann &* &a
        ACL SETUSER ann <nosuch
        ACL SETUSER ann #123
        ACL SETUSER ann (+get
        ACL SETUSER ann +config|get|x
        ACL USERS
        ACL SETUSER ann on >abc +get ~a* (%R~b* +@read) &news
        ACL GETUSER ann
        ACL LIST
        ACL SETUSER ann +set
        AUTH ann wrong
        AUTH nobody abc
        AUTH ann abc
        ACL WHOAMI
        AUTH default ""
        ACL SETUSER ann +acl|whoami
        AUTH ann abc
        ACL WHOAMI
        GET a1
        GET b1
        STRLEN b1
        STRLEN a1
        SET b1 x
        AUTH default ""
        ACL LOG
        ACL LOG 1
        ACL LOG RESET
        ACL LOG
        ACL LOG a
        ACL LOG 1 2
        ACL DELUSER ann ann
        ACL CAT nosuch
        ACL CAT a b
        ACL GENPASS 0
        ACL GENPASS x
        ACL GENPASS 1 2
        ACL SAVE
        ACL LOAD
        ACL HELP
        ACL NOSUCH
        ACL
        ACL WHOAMI x
        AUTH x
        AUTH a b c
        CLIENT KILL USER nobody
        "#,
    );
}

#[test]
fn rights_are_looked_at_in_blocks_and_scripts() {
    everywhere(
        r#"
        ACL SETUSER ann on nopass +@all -incr ~a*
        ACL SETUSER bob on nopass +@all ~*
        AUTH ann x
        MULTI
        SET a1 1
        SET b1 1
        EXEC
        MULTI
        SET a1 1
        INCR a1
        EXEC
        MULTI
        SET a1 1
        AUTH bob x
        SET a2 2
        EXEC
        ACL WHOAMI
        MULTI
        SET b1 1
        AUTH ann x
        GET b1
        GET a1
        ACL SETUSER ann resetkeys
        GET a1
        EXEC
        AUTH default x
        ACL LOG
        ACL SETUSER ann ~a*
        AUTH ann x
        EVAL "return redis.call('get', KEYS[1])" 1 a1
        EVAL "return redis.call('get', KEYS[1])" 1 b1
        EVAL "return redis.call('get', ARGV[1])" 0 b1
        EVAL "return redis.call('incr', KEYS[1])" 1 a1
        EVAL "return redis.pcall('incr', KEYS[1])" 1 a1
        EVAL "return redis.acl_check_cmd('incr', KEYS[1])" 1 a1
        EVAL "return redis.acl_check_cmd('get', KEYS[1])" 1 a1
        EVAL "return redis.acl_check_cmd('get', 'b1')" 0
        EVAL "return redis.acl_check_cmd('nosuch')" 0
        EVAL "return redis.acl_check_cmd('set', 'a1')" 0
        RPUSH al 1 2
        SORT al BY b*
        SORT al BY nosort
        SORT al GET a*
        SORT al FOO BY b*
        SORT al BY b* FOO
        AUTH default x
        ACL SETUSER ann %R~*
        AUTH ann x
        SORT al BY b*
        SORT al GET a* STORE b1
        SORT al GET a* STORE a3
        ACL LOG
        "#,
    );
}

/// The categories list the same commands as redis-server's, of those that are here.
#[test]
fn categories_are_those_of_redis() {
    let (redis, ours) = (Server::redis(), Server::corelane(1));
    let (mut redis, mut ours) = (redis.client(), ours.client());
    let names =
        |reply: &Reply| -> BTreeSet<String> { reply.items().iter().map(Reply::text).collect() };
    let categories = ours.run("ACL CAT");
    assert_eq!(redis.run("ACL CAT"), categories);
    let (known, own) = (names(&redis.run("COMMAND LIST")), names(&ours.run("COMMAND LIST")));
    let mut compared = 0;
    for category in categories.items() {
        let line = format!("ACL CAT {}", category.text());
        let (theirs, listed) = (names(&redis.run(&line)), names(&ours.run(&line)));
        let theirs: BTreeSet<_> = theirs.intersection(&own).cloned().collect();
        let listed: BTreeSet<_> = listed.intersection(&known).cloned().collect();
        assert_eq!(listed, theirs, "{line}");
        compared += listed.len();
    }
    assert!(compared > 500, "only {compared} memberships were compared");
}

/// What is allowed or not is so on all shards when the reply to the change comes.
#[test]
fn a_change_holds_on_all_shards_at_once() {
    let server = Server::corelane(3);
    let mut admin = server.client();
    ok(&mut admin, "ACL SETUSER ann on >abc +@all ~*");
    let mut clients: Vec<Client> = (0..24).map(|_| client_as(&server, "ann", "abc")).collect();
    for round in 0..20 {
        let (rule, allowed) = if round % 2 == 0 { ("-set", false) } else { ("+set", true) };
        ok(&mut admin, &format!("ACL SETUSER ann {rule}"));
        for (at, client) in clients.iter_mut().enumerate() {
            let reply = client.run(&format!("SET key:{round}:{at} x"));
            assert_eq!(reply.text() == "OK", allowed, "round {round}, client {at}: {reply:?}");
        }
    }
}

#[test]
fn a_removed_user_is_cut_off() {
    for shards in [1, 3] {
        let server = Server::corelane(shards);
        let mut admin = server.client();
        ok(&mut admin, "ACL SETUSER ann on nopass +@all ~* &*");
        ok(&mut admin, "ACL SETUSER bob on nopass +@all ~* &*");
        let mut anns: Vec<Client> = (0..6).map(|_| client_as(&server, "ann", "x")).collect();
        let mut bob = client_as(&server, "bob", "x");
        let lines = admin.run("CLIENT LIST").text();
        assert_eq!(lines.matches("user=ann").count(), 6, "{lines}");
        anns[1].send_raw(b"BLPOP list 0\r\n").expect("a request is sent");
        assert_eq!(admin.run("ACL DELUSER ann nobody"), Reply::Int(1));
        for ann in &mut anns {
            assert_eq!(ann.drain(Duration::from_secs(10)).1, Ending::Closed);
        }
        assert_eq!(bob.run("ACL WHOAMI").text(), "bob");
        // Who removes itself gets the reply.
        assert_eq!(bob.run("ACL DELUSER bob"), Reply::Int(1));
        assert_eq!(bob.drain(Duration::from_secs(10)).1, Ending::Closed);
        assert!(client_fails(&server, "bob"));
    }
}

fn client_fails(server: &Server, user: &str) -> bool {
    let reply = server.client().run(&format!("AUTH {user} x"));
    reply.text() == "WRONGPASS invalid username-password pair or user is disabled."
}

#[test]
fn a_user_that_is_switched_off_stays_until_it_goes() {
    let server = Server::corelane(3);
    let mut admin = server.client();
    ok(&mut admin, "ACL SETUSER ann on nopass +@all ~*");
    let mut ann = client_as(&server, "ann", "x");
    ok(&mut admin, "ACL SETUSER ann off");
    ok(&mut ann, "SET a 1");
    assert!(client_fails(&server, "ann"));
}

#[test]
fn who_may_not_listen_any_more_is_cut_off() {
    for shards in [1, 3] {
        let server = Server::corelane(shards);
        let mut admin = server.client();
        ok(&mut admin, "ACL SETUSER ann on nopass +@all resetchannels &a* &b");
        let listen = |line: &str| {
            let mut client = client_as(&server, "ann", "x");
            let reply = client.run(line);
            assert!(!reply.is_error(), "{line}: {reply:?}");
            client
        };
        let mut stays = listen("SUBSCRIBE a1");
        let mut channel = listen("SUBSCRIBE b");
        let mut pattern = listen("PSUBSCRIBE a*");
        let mut sharded = listen("SSUBSCRIBE b");
        ok(&mut admin, "ACL SETUSER ann &c");
        assert_eq!(stays.run("PING").items()[0].text(), "pong");
        assert_eq!(channel.run("PING").items()[0].text(), "pong");
        ok(&mut admin, "ACL SETUSER ann resetchannels &a?");
        for gone in [&mut channel, &mut pattern, &mut sharded] {
            assert_eq!(gone.drain(Duration::from_secs(10)).1, Ending::Closed);
        }
        assert_eq!(stays.run("PING").items()[0].text(), "pong");
        let denied = "NOPERM No permissions to access a channel";
        let mut ann = client_as(&server, "ann", "x");
        for line in
            ["SUBSCRIBE b", "SUBSCRIBE a1 b", "PSUBSCRIBE a*", "PUBLISH b x", "SPUBLISH b x"]
        {
            assert_eq!(ann.run(line).text(), denied, "{line}");
        }
        assert_eq!(ann.run("PUBLISH a1 x"), Reply::Int(1));
    }
}

/// A client that waits for a key that it may not use any more is told so.
#[test]
fn who_waits_without_the_right_to_waits_no_more() {
    for shards in [1, 3] {
        let server = Server::corelane(shards);
        let mut admin = server.client();
        ok(&mut admin, "ACL SETUSER ann on nopass +@all ~*");
        let mut waits: Vec<Client> = (0..4).map(|_| client_as(&server, "ann", "x")).collect();
        for (at, client) in waits.iter_mut().enumerate() {
            let request = format!("BLPOP list{at} 0\r\n");
            client.send_raw(request.as_bytes()).expect("a request is sent");
        }
        server.wait_info("blocked_clients", "4");
        ok(&mut admin, "ACL SETUSER ann resetkeys ~list0");
        assert_eq!(admin.run("RPUSH list0 x"), Reply::Int(1));
        assert_eq!(waits[0].recv().expect("a reply").items()[1].text(), "x");
        for client in &mut waits[1..] {
            let reply = client.recv().expect("a reply").text();
            assert_eq!(reply, "NOPERM No permissions to access a key");
            assert_eq!(client.run("PING").text(), "PONG");
        }
        assert_eq!(admin.run("RPUSH list1 x"), Reply::Int(1));
        assert_eq!(admin.run("LLEN list1"), Reply::Int(1));
    }
}

#[test]
fn the_default_user_is_that_of_all_who_do_not_log_in() {
    let server = Server::corelane(3);
    let mut admin = server.client();
    ok(&mut admin, "CONFIG SET requirepass secret");
    assert_eq!(server.client().run("GET a").text(), "NOAUTH Authentication required.");
    ok(&mut admin, "ACL SETUSER default nopass");
    assert!(server.client().run("GET a").is_nil());
    ok(&mut admin, "ACL SETUSER default resetkeys ~a* >secret");
    let mut client = server.client();
    assert_eq!(client.run("GET a").text(), "NOAUTH Authentication required.");
    ok(&mut client, "AUTH secret");
    assert!(client.run("GET a").is_nil());
    assert_eq!(client.run("GET b").text(), "NOPERM No permissions to access a key");
    ok(&mut admin, "ACL SETUSER default off");
    assert_eq!(server.client().run("PING").text(), "NOAUTH Authentication required.");
    assert_eq!(server.client().run("AUTH secret").text(), {
        "WRONGPASS invalid username-password pair or user is disabled."
    });
}

#[test]
fn the_log_tells_of_clients_and_scripts() {
    for shards in [1, 3] {
        let server = Server::corelane(shards);
        let mut admin = server.client();
        ok(&mut admin, "ACL SETUSER ann on nopass +@all ~a*");
        let mut ann = client_as(&server, "ann", "x");
        ok(&mut ann, "CLIENT SETNAME worker");
        for key in ["b1", "b2", "b3"] {
            let reply = ann.run(&format!("EVAL \"return redis.call('get', ARGV[1])\" 0 {key}"));
            let text = "ERR ACL failure in script: No permissions to access a key script: ";
            assert!(reply.text().starts_with(text), "{reply:?}");
        }
        let log = admin.run("ACL LOG");
        assert_eq!(log.items().len(), 3);
        for (entry, key) in log.items().iter().zip(["b3", "b2", "b1"]) {
            let field = |name: &str| entry.field(name).map(Reply::text).unwrap_or_default();
            assert_eq!((field("context"), field("object")), ("lua".into(), key.into()));
            let client = field("client-info");
            assert!(client.contains(" name=worker ") && client.contains(" user=ann "), "{client}");
            assert!(client.contains(" cmd=eval "), "{client}");
        }
        assert_eq!(server.info("acl_access_denied_key"), Some("3".into()));
        ok(&mut admin, "CONFIG SET acllog-max-len 1");
        assert_eq!(ann.run("AUTH bob x").text().split(' ').next(), Some("WRONGPASS"));
        let log = admin.run("ACL LOG");
        assert_eq!(log.items().len(), 1);
        assert_eq!(log.items()[0].field("object").map(Reply::text), Some("AUTH".into()));
        assert_eq!(server.info("acl_access_denied_auth"), Some("1".into()));
    }
}

#[test]
fn users_are_kept_in_a_file_of_their_own() {
    let dir = Server::make_dir();
    let file = dir.join("users.acl");
    let path = file.to_str().expect("a path in UTF-8").to_string();
    std::fs::write(&file, "user ann on nopass +get ~a*\nuser default on nopass ~* &* +@all\n")
        .expect("a file");
    let server = Server::corelane_in(&dir, 3, &["--aclfile", &path]);
    let mut admin = server.client();
    let mut ann = client_as(&server, "ann", "x");
    assert!(ann.run("GET a").is_nil());
    ok(&mut admin, "ACL SETUSER bob on >pw allkeys -@all +set");
    ok(&mut admin, "ACL SAVE");
    let saved = std::fs::read_to_string(&file).expect("the file");
    assert_eq!(saved.lines().count(), 3);
    assert!(saved.contains("user bob on sanitize-payload #"), "{saved}");
    std::fs::write(&file, "user ann on nopass +nope\n").expect("a file");
    let error = admin.run("ACL LOAD").text();
    assert!(
        error.contains("Unknown command or category name in ACL. WARNING: ACL errors"),
        "{error}"
    );
    assert!(ann.run("GET a").is_nil());
    std::fs::write(&file, &saved).expect("a file");
    ok(&mut admin, "ACL LOAD");
    // Whoever was logged in must do so again, but for the default user.
    assert_eq!(ann.drain(Duration::from_secs(10)).1, Ending::Closed);
    ok(&mut client_as(&server, "bob", "pw"), "SET x 1");
    drop(server);
    std::fs::remove_dir_all(dir).expect("the directory");
}

#[test]
fn users_are_kept_in_the_configuration() {
    let dir = Server::make_dir();
    let file = dir.join("corelane.conf");
    std::fs::write(&file, "# mine\nuser ann on nopass +get ~a*\nmasterauth x\n").expect("a file");
    let path = file.to_str().expect("a path in UTF-8").to_string();
    let run = |port: &str| {
        let mut args = vec![path.as_str(), "--save", "", "--bind", "127.0.0.1", "--shards", "3"];
        args.extend(["--port", port]);
        let mut command = std::process::Command::new(crate::harness::process::corelane_binary());
        command.args(args).current_dir(&dir).stdin(std::process::Stdio::null());
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        command.spawn().expect("a server")
    };
    let port = crate::harness::process::free_port();
    let mut child = run(&port.to_string());
    let connect = || {
        wait_until("it serves", || {
            let answer = Client::try_connect(port).and_then(|mut client| {
                client.send_raw(b"PING\r\n")?;
                client.recv()
            });
            answer.is_ok()
        });
        Client::connect(port)
    };
    let mut admin = connect();
    ok(&mut admin, "ACL SETUSER bob on >pw (+set ~b*)");
    ok(&mut admin, "ACL SETUSER default +@all -debug");
    ok(&mut admin, "CONFIG REWRITE");
    let list = admin.run("ACL LIST");
    let text = std::fs::read_to_string(&file).expect("the file");
    assert!(text.starts_with("# mine\nuser ann on nopass sanitize-payload ~a* "), "{text}");
    assert!(text.contains("masterauth \"x\"\n"), "{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with("user ")).count(), 3, "{text}");
    child.kill().and_then(|()| child.wait()).expect("it ends");
    let mut child = run(&port.to_string());
    assert_eq!(connect().run("ACL LIST"), list);
    child.kill().and_then(|()| child.wait()).expect("it ends");
    std::fs::remove_dir_all(dir).expect("the directory");
}

/// Rules name commands as they were before they were renamed.
#[test]
fn renamed_commands_keep_their_rules() {
    let args = ["--rename-command", "GET FETCH", "--rename-command", "FLUSHALL \"\""];
    let server = Server::corelane_with(1, &args);
    let mut admin = server.client();
    ok(&mut admin, "ACL SETUSER ann on nopass +get -flushall ~*");
    let mut ann = client_as(&server, "ann", "x");
    assert!(ann.run("FETCH a").is_nil());
    assert!(ann.run("GET a").text().starts_with("ERR unknown command 'GET'"));
    assert!(admin.run("FLUSHALL").text().starts_with("ERR unknown command 'FLUSHALL'"));
    assert!(admin.run("ACL SETUSER ann +fetch").is_error());
}

/// A script that is run again and again, so that its shard learns which keys it touches.
#[test]
fn scripts_whose_keys_were_learned_have_the_same_rights() {
    const SCRIPT: &str = "local n = 0; for i = 1, 3 do \
         n = n + redis.call('incr', ARGV[1] .. i) end; return n";
    for shards in [1, 3] {
        let server = Server::corelane(shards);
        let mut admin = server.client();
        ok(&mut admin, "ACL SETUSER ann on nopass +@all ~a*");
        ok(&mut admin, "ACL SETUSER bob on nopass +@all ~*");
        let (mut ann, mut bob) = (client_as(&server, "ann", "x"), client_as(&server, "bob", "x"));
        let run = |client: &mut Client, prefix: &str| {
            client.call(&Cmd::new(["EVAL", SCRIPT, "0", prefix]))
        };
        for n in 1..=20 {
            assert_eq!(run(&mut ann, "a"), Reply::Int(3 * (2 * n - 1)));
            assert_eq!(run(&mut bob, "a"), Reply::Int(3 * 2 * n));
            assert_eq!(run(&mut bob, "b"), Reply::Int(3 * n));
            assert!(run(&mut ann, "b").text().contains("No permissions to access a key"));
        }
        assert!(shards == 1 || server.info("scripts_foretold").is_some_and(|n| n != "0"));
        assert_eq!(server.info("acl_access_denied_key").as_deref(), Some("20"));
        let log = admin.run("ACL LOG");
        let [entry] = log.items() else { panic!("{log:?}") };
        assert_eq!(entry.field("count"), Some(&Reply::Int(20)));
        assert_eq!(entry.field("object").map(Reply::text).as_deref(), Some("b1"));
        assert_eq!(entry.field("context").map(Reply::text).as_deref(), Some("lua"));
        // A change holds for the next run, with what was learned.
        ok(&mut admin, "ACL SETUSER ann ~b*");
        assert_eq!(run(&mut ann, "b"), Reply::Int(3 * 21));
        ok(&mut admin, "ACL SETUSER bob resetkeys ~a1 ~a2");
        assert!(run(&mut bob, "a").text().contains("No permissions to access a key"));
        assert_eq!(admin.run("MGET a1 a2 a3").items()[2].text(), "40");
    }
}

#[test]
fn passwords_are_shown_to_nobody() {
    let server = Server::corelane(3);
    let (mut admin, mut watcher) = (server.client(), server.client());
    ok(&mut admin, "CONFIG SET slowlog-log-slower-than 0");
    ok(&mut watcher, "MONITOR");
    let secrets = [
        "ACL SETUSER ann on >hush1 ~* +@all",
        "AUTH ann hush1",
        "AUTH hush2",
        "HELLO 2 AUTH ann hush1",
        "CONFIG SET masterauth hush3 timeout 0",
        "CONFIG SET requirepass hush4",
        "ACL SETUSER ann <hush1 >hush5",
    ];
    secrets.iter().for_each(|line| drop(admin.run(line)));
    ok(&mut admin, "CONFIG SET slowlog-log-slower-than -1");
    assert_eq!(admin.run("ECHO last").text(), "last");
    let log = format!("{:?}", admin.run("SLOWLOG GET -1"));
    assert!(log.contains("(redacted)") && !log.contains("hush"), "{log}");
    let mut shown = 0;
    loop {
        let line = watcher.recv().expect("a line").text();
        assert!(!line.contains("hush"), "{line}");
        shown += usize::from(line.contains("(redacted)"));
        if line.contains("\"last\"") {
            break;
        }
    }
    assert_eq!(shown, 3, "the lines of commands that are no administrator's");
}
