//! redis-cli's modes.

use super::run::{Output, run};
use crate::harness::{Cmd, Server};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

fn cli_with(server: &Server, args: &[&str], input: &[u8], limit: Duration) -> Output {
    let port = server.port.to_string();
    run("redis-cli", &[&["-p", &port], args].concat(), input, limit)
}

fn cli(server: &Server, args: &[&str]) -> String {
    cli_with(server, args, b"", LIMIT).ok()
}

/// Keys of three sizes over all shards.
fn filled() -> Server {
    let server = Server::corelane(3);
    let mut cmds: Vec<Cmd> = (0..3_000)
        .map(|i| Cmd::new(["SET".to_string(), format!("key:{i}"), "v".repeat(10)]))
        .collect();
    cmds.push(Cmd::new(["SET".to_string(), "the-biggest".to_string(), "x".repeat(12_345)]));
    server.client().pipeline(&cmds).unwrap();
    server
}

#[test]
fn commands_as_arguments_and_from_a_pipe() {
    let server = Server::corelane(3);
    assert_eq!(cli(&server, &["SET", "k", "hello world"]), "OK\n");
    assert_eq!(cli(&server, &["GET", "k"]), "hello world\n");
    assert_eq!(cli(&server, &["--no-raw", "GET", "k"]), "\"hello world\"\n");
    assert_eq!(cli(&server, &["--no-raw", "GET", "missing"]), "(nil)\n");
    assert_eq!(cli(&server, &["--no-raw", "-3", "GET", "missing"]), "(nil)\n");
    assert_eq!(cli(&server, &["-n", "5", "SET", "k", "five"]), "OK\n");
    assert_eq!(
        cli(&server, &["-u", &format!("redis://127.0.0.1:{}/5", server.port), "GET", "k"]),
        "five\n"
    );
    let csv = cli(&server, &["--csv", "MGET", "k", "missing"]);
    assert!(csv == "\"hello world\",NIL\n" || csv == "\"hello world\",NULL\n", "{csv}");
    assert_eq!(cli(&server, &["--json", "MGET", "k", "missing"]), "[\"hello world\",null]\n");
    let piped = cli_with(&server, &[], b"SET a 1\nINCR a\nGET a\nNOSUCH\nPING\n", LIMIT).ok();
    assert!(
        piped.starts_with("OK\n2\n2\nERR unknown command 'NOSUCH'") && piped.ends_with("PONG\n"),
        "{piped}"
    );
    let from_input = cli_with(&server, &["-x", "SET", "binary"], b"\x00\xff\r\n", LIMIT).ok();
    assert_eq!(from_input, "OK\n");
    assert_eq!(cli(&server, &["STRLEN", "binary"]), "4\n");
    assert_eq!(cli(&server, &["-r", "3", "INCR", "n"]), "1\n2\n3\n");
    assert!(cli(&server, &["INFO", "server"]).contains("redis_version:"));
    let failed = cli_with(&server, &["-e", "NOSUCH"], b"", LIMIT);
    assert_eq!(failed.code, Some(1), "{}", failed.text);
}

#[test]
fn passwords() {
    let server = Server::corelane_with(2, &["--requirepass", "secret"]);
    assert!(cli(&server, &["GET", "k"]).starts_with("NOAUTH Authentication required."));
    assert_eq!(cli(&server, &["--no-auth-warning", "-a", "secret", "PING"]), "PONG\n");
    assert_eq!(
        cli(&server, &["--no-auth-warning", "--user", "default", "-a", "secret", "-3", "PING"]),
        "PONG\n"
    );
    let wrong = cli(&server, &["--no-auth-warning", "-a", "wrong", "PING"]);
    assert!(
        wrong.contains("WRONGPASS invalid username-password pair or user is disabled."),
        "{wrong}"
    );
    let url = format!("redis://default:secret@127.0.0.1:{}", server.port);
    assert!(cli(&server, &["--no-auth-warning", "-u", &url, "PING"]).ends_with("PONG\n"));
}

#[test]
fn bigkeys_finds_the_biggest() {
    let server = filled();
    let text = cli(&server, &["--bigkeys"]);
    assert!(text.contains("Sampled 3001 keys in the keyspace!"), "{text}");
    assert!(text.contains("Biggest string found '\"the-biggest\"' has 12345 bytes"), "{text}");
    assert!(text.contains("3001 strings with 42345 bytes"), "{text}");
}

#[test]
fn scan_lists_every_key() {
    let server = filled();
    let text = cli(&server, &["--scan"]);
    let mut keys: Vec<&str> = text.lines().collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 3_001);
    assert_eq!(cli(&server, &["--scan", "--pattern", "key:29??"]).lines().count(), 100);
    assert_eq!(cli(&server, &["--scan", "--pattern", "nothing*"]), "");
}

#[test]
fn latency_samples() {
    let server = Server::corelane(2);
    let text = cli_with(&server, &["--latency", "-i", "1"], b"", Duration::from_secs(5)).text;
    // Without a terminal: minimum, maximum, average, count.
    let fields: Vec<f64> = text.split_whitespace().filter_map(|w| w.parse().ok()).collect();
    assert!(fields.len() >= 4, "{text}");
    assert!(fields[0] <= fields[2] && fields[2] <= fields[1] && fields[3] >= 10.0, "{text}");
}

#[test]
fn pipe_loads_everything() {
    let server = Server::corelane(3);
    let mut bytes = Vec::new();
    for i in 0..20_000 {
        Cmd::new(["SET".to_string(), format!("piped:{i}"), i.to_string()]).encode(&mut bytes);
    }
    let text = cli_with(&server, &["--pipe"], &bytes, LIMIT).ok();
    assert!(text.contains("errors: 0, replies: 20000"), "{text}");
    assert_eq!(cli(&server, &["DBSIZE"]), "20000\n");
    let inline: String = (0..500).map(|i| format!("SET inline:{i} {i}\r\n")).collect();
    let text =
        cli_with(&server, &["--pipe"], (inline + "INCR inline:1 x\r\n").as_bytes(), LIMIT).text;
    assert!(text.contains("errors: 1, replies: 501"), "{text}");
}

#[test]
fn stat_shows_rows() {
    let server = filled();
    // Line by line: it never ends by itself, and what is in its buffer then would be lost.
    let port = server.port.to_string();
    let args = ["-oL", "redis-cli", "-p", &port, "--stat", "-i", "0.1"];
    // A busy machine needs longer.
    let mut text = String::new();
    for ms in [1_500, 10_000] {
        text = run("stdbuf", &args, b"", Duration::from_millis(ms)).text;
        if text.lines().filter(|l| l.starts_with("3001 ")).count() >= 3 {
            break;
        }
    }
    assert!(
        text.contains("keys       mem      clients blocked requests            connections"),
        "{text}"
    );
    assert!(text.lines().filter(|l| l.starts_with("3001 ")).count() >= 3, "{text}");
}
