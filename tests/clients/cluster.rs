//! redis-cli's cluster modes against the ports of the shards.

use super::run::run;
use crate::harness::Server;
use crate::harness::process::is_stand_in;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn redis_cli_follows_the_cluster() {
    if is_stand_in() {
        return;
    }
    let server = Server::corelane_with(3, &["--cluster-mode", "emulated"]);
    for port in [server.port, server.port + 1, server.port + 3] {
        let port = port.to_string();
        let script: String = (0..100).map(|i| format!("SET key:{i} {i}\nGET key:{i}\n")).collect();
        let text = run("redis-cli", &["-c", "-p", &port], script.as_bytes(), LIMIT).ok();
        let expected: String = (0..100).map(|i| format!("OK\n{i}\n")).collect();
        assert_eq!(text, expected, "at port {port}");
    }
    assert_eq!(
        run("redis-cli", &["-p", &server.port.to_string(), "DBSIZE"], b"", LIMIT).ok(),
        "100\n"
    );
}

#[test]
fn redis_cli_checks_the_cluster() {
    if is_stand_in() {
        return;
    }
    let server = Server::corelane_with(3, &["--cluster-mode", "emulated"]);
    server.client().run("MSET {a}1 1 {a}2 2 {a}3 3");
    let address = format!("127.0.0.1:{}", server.port + 1);
    let text = run("redis-cli", &["--cluster", "check", &address], b"", LIMIT).ok();
    assert!(text.contains("[OK] All nodes agree about slots configuration."), "{text}");
    assert!(text.contains("[OK] All 16384 slots covered."), "{text}");
    assert!(text.contains("keys in 3 masters"), "{text}");
}
