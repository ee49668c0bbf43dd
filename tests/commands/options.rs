//! Options that take effect: at the start, and by CONFIG SET while the server runs.

use crate::harness::pair::everywhere_with;
use crate::harness::process::is_stand_in;
use crate::harness::{Pair, Server};
use std::net::SocketAddr;

#[test]
fn debug_is_for_those_whom_the_option_allows() {
    let lines = "DEBUG\nDEBUG FOO\nDEBUG SLEEP\nDEBUG SLEEP 0\nDEBUG OBJECT missing\nPING";
    for who in ["no", "local", "yes"] {
        everywhere_with(&["--enable-debug-command", who], |both| both.script(lines));
    }
    let args = ["--enable-debug-command", "no", "--requirepass", "secret"];
    everywhere_before_auth(&args, "DEBUG\nDEBUG FOO\nDEBUG SLEEP 0\nGET\nGET k");
    let args = ["--requirepass", "secret"];
    everywhere_before_auth(&args, "DEBUG\nDEBUG FOO\nDEBUG SLEEP\nCLIENT FOO\nCONFIG GET");
}

/// Compares the two servers for a client that has not given the password.
fn everywhere_before_auth(args: &[&str], lines: &str) {
    let servers = [Server::redis_with(args), Server::corelane_with(2, args)];
    let [redis, ours] = servers.each_ref().map(|server| {
        let mut client = server.client();
        lines.lines().map(|l| format!("{l} => {:?}", client.run(l))).collect::<Vec<_>>()
    });
    assert_eq!(redis, ours);
}

#[test]
fn commands_are_renamed_and_taken_away() {
    let args = ["--rename-command", "GET", "fetch", "--rename-command", "FLUSHDB", ""];
    everywhere_with(&args, |both| {
        both.script(
            r#"
            SET k v
            GET k
            fetch k
            FETCH
            FLUSHDB
            COMMAND GETKEYS fetch k
            COMMAND GETKEYS get k
            "#,
        );
    });
}

#[test]
fn without_a_password_nobody_is_a_stranger() {
    let pair = Pair::start_with_password();
    let [redis, ours] = [&pair.redis, &pair.corelane].map(|server| {
        let (mut stranger, mut admin) = (server.client(), server.client());
        let mut replies = vec![stranger.run("GET k"), admin.run("AUTH secret")];
        replies.push(admin.run("CONFIG SET requirepass \"\""));
        replies.push(stranger.run("GET k"));
        replies.push(admin.run("CONFIG SET requirepass other"));
        replies.push(stranger.run("GET k"));
        replies.push(admin.run("GET k"));
        replies
    });
    assert_eq!(redis, ours);
}

#[test]
fn the_log_level_changes_while_the_server_runs() {
    if is_stand_in() {
        return;
    }
    for (before, after, says_bye) in [("warning", "notice", true), ("notice", "warning", false)] {
        let mut server = Server::corelane_with(2, &["--loglevel", before]);
        let line = format!("CONFIG SET loglevel {after}");
        assert_eq!(server.client().run(&line).text(), "OK");
        assert_eq!(server.client().run("CONFIG GET loglevel").items()[1].text(), after);
        server.end(libc::SIGTERM);
        let log = server.log();
        assert_eq!(log.contains("bye"), says_bye, "{before} to {after}: {log}");
        assert_eq!(log.contains("ready"), before == "notice", "{before} to {after}: {log}");
    }
}

/// The kernel's table of sockets tells whether a connection's keepalive timer runs.
#[test]
fn new_connections_get_the_present_keepalive() {
    let server = Server::corelane(3);
    let mut admin = server.client();
    for (seconds, runs) in [("100", true), ("0", false), ("300", true)] {
        let line = format!("CONFIG SET tcp-keepalive {seconds}");
        assert_eq!(admin.run(&line).text(), "OK");
        // As many as reach every shard's listener.
        for _ in 0..8 {
            let mut client = server.client();
            assert_eq!(client.run("PING").text(), "PONG");
            let peer = client.stream().local_addr().unwrap();
            assert_eq!(has_timer(server.port, peer), runs, "tcp-keepalive {seconds}");
        }
    }
}

fn has_timer(port: u16, peer: SocketAddr) -> bool {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let (ours, theirs) = (format!(":{port:04X}"), format!(":{:04X}", peer.port()));
    let line = table.lines().find(|line| {
        let mut words = line.split_whitespace().skip(1);
        words.next().is_some_and(|w| w.ends_with(&ours))
            && words.next().is_some_and(|w| w.ends_with(&theirs))
    });
    let line = line.unwrap_or_else(|| panic!("{port} has no connection from {peer}\n{table}"));
    line.split_whitespace().nth(5).is_some_and(|timer| timer.starts_with("02:"))
}

/// A rate is a mean over the last second or two.
#[test]
fn info_tells_the_present_rate() {
    if is_stand_in() {
        return;
    }
    let server = Server::corelane(2);
    let mut client = server.client();
    let mut most = 0;
    crate::harness::wait_until("a rate", || {
        (0..200).for_each(|_| drop(client.run("PING")));
        most = server.info("instantaneous_ops_per_sec").unwrap().parse::<u64>().unwrap();
        most > 100
    });
    crate::harness::wait_until("rest", || {
        std::thread::sleep(std::time::Duration::from_millis(200));
        server.info("instantaneous_ops_per_sec").unwrap().parse::<u64>().unwrap() < 100
    });
}
