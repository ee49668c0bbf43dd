//! The admin port: who gets what, in which form, and that it holds up nobody.

use crate::harness::process::free_port;
use crate::harness::{Server, wait_until};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

fn start(shards: usize, args: &[&str]) -> (Server, u16) {
    let port = free_port();
    let admin = port.to_string();
    let server = Server::corelane_with(shards, &[&["--admin-port", &admin][..], args].concat());
    (server, port)
}

/// Sends a request and answers the status and the whole response.
fn ask(port: u16, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("a response");
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("no status: {text}")), text)
}

fn get(port: u16, path: &str) -> (u16, String) {
    ask(port, &format!("GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n"))
}

fn body(response: &str) -> &str {
    response.split_once("\r\n\r\n").expect("a body").1
}

#[test]
fn pages_are_served_and_only_read() {
    let (server, port) = start(3, &[]);
    server.client().run("SET k v");
    assert_eq!(get(port, "/healthz").0, 200);
    assert_eq!(body(&get(port, "/readyz").1), "ready\n");
    let (status, page) = get(port, "/");
    assert_eq!(status, 200);
    assert!(page.contains("Content-Security-Policy: default-src 'none'; script-src 'nonce-"));
    assert!(page.contains("X-Frame-Options: DENY") && !page.contains("__NONCE__"));
    let outside = ["src=\"http", "href=\"http", "@import", "url(http"];
    assert!(outside.iter().all(|word| !page.contains(word)), "no outside assets");
    assert_eq!(get(port, "/nosuch").0, 404);
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let request = format!("{method} /state.json HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(ask(port, &request).0, 405, "{method}");
    }
    let head = ask(port, "HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!((head.0, body(&head.1)), (200, ""));
    assert_eq!(ask(port, "nonsense\r\n\r\n").0, 400);
    assert_eq!(ask(port, &format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "y".repeat(20_000))).0, 431);
}

#[test]
fn a_password_is_asked_for() {
    for args in
        [&["--requirepass", "secret"][..], &["--admin-password", "secret", "--requirepass", "x"]]
    {
        let (_server, port) = start(1, args);
        for path in ["/", "/state.json", "/metrics"] {
            let (status, text) = get(port, path);
            assert_eq!(status, 401, "{path}");
            assert!(text.contains("WWW-Authenticate: Basic realm=\"Corelane\""));
            for (value, status) in [
                ("Basic YWRtaW46c2VjcmV0", 200), // admin:secret
                ("Bearer secret", 200),
                ("Bearer secre", 401),
                ("Basic YWRtaW46eA==", 401), // admin:x
            ] {
                let request = format!(
                    "GET {path} HTTP/1.1\r\nHost: any.name\r\nAuthorization: {value}\r\n\r\n"
                );
                assert_eq!(ask(port, &request).0, status, "{path} {value}");
            }
        }
        assert_eq!((get(port, "/healthz").0, get(port, "/readyz").0), (200, 200));
    }
}

/// The status of a request of `user:password`.
fn status_for(port: u16, path: &str, encoded: &str) -> u16 {
    let lines = format!("Host: any.name\r\nAuthorization: Basic {encoded}\r\n");
    ask(port, &format!("GET {path} HTTP/1.1\r\n{lines}\r\n")).0
}

const DEFAULT_SECRET: &str = "ZGVmYXVsdDpzZWNyZXQ=";
const ADMIN_SECRET: &str = "YWRtaW46c2VjcmV0";
const WATCH_EYE: &str = "d2F0Y2g6ZXll";
const METRICS_EYE: &str = "bWV0cmljczpleWU=";
const OFF_EYE: &str = "b2ZmOmV5ZQ==";

#[test]
fn users_of_a_file_are_asked_for_their_passwords() {
    let file = std::env::temp_dir().join(format!("corelane-admin-{}.acl", std::process::id()));
    let lines = "user default on >secret ~* &* +@all\n\
                 user watch on >eye %R~* +info +client|list +slowlog|get\n\
                 user metrics on >eye +info\n\
                 user off off >eye ~* &* +@all\n";
    std::fs::write(&file, lines).expect("written");
    let (server, port) = start(2, &["--aclfile", file.to_str().expect("a path")]);
    for path in ["/", "/state.json", "/metrics"] {
        assert_eq!(get(port, path).0, 401, "{path}: the default user has a password");
        let expected = [
            (DEFAULT_SECRET, 200),
            (ADMIN_SECRET, 200), // no user of that name
            (WATCH_EYE, 200),
            (METRICS_EYE, if path == "/metrics" { 200 } else { 401 }),
            (OFF_EYE, 401),
        ];
        for (encoded, status) in expected {
            assert_eq!(status_for(port, path, encoded), status, "{path} {encoded}");
        }
    }
    let mut client = server.client();
    client.run("AUTH secret");
    // Without a password, but it may not see it all.
    client.run("ACL SETUSER default nopass -slowlog");
    assert_eq!((get(port, "/state.json").0, get(port, "/metrics").0), (401, 200));
    assert_eq!(status_for(port, "/metrics", DEFAULT_SECRET), 421, "any password says nothing");
    client.run("ACL SETUSER default +@all");
    assert_eq!(get(port, "/state.json").0, 200);
    client.run("ACL SETUSER default off");
    assert_eq!((get(port, "/state.json").0, get(port, "/metrics").0), (401, 401));
    assert_eq!(status_for(port, "/state.json", WATCH_EYE), 200);
    std::fs::remove_file(file).expect("removed");
}

#[test]
fn names_of_others_are_refused_without_a_password() {
    let (server, port) = start(1, &[]);
    let with =
        |host: &str| ask(port, &format!("GET /state.json HTTP/1.1\r\nHost: {host}\r\n\r\n")).0;
    assert_eq!([with("127.0.0.1"), with("[::1]:80"), with("localhost")], [200; 3]);
    assert_eq!([with("rebound.example"), with("rebound.example:9121")], [421; 2]);
    server.client().run("CONFIG SET admin-hosts rebound.example");
    assert_eq!(with("rebound.example"), 200);
}

#[test]
fn the_state_has_what_was_done() {
    let (server, port) = start(3, &["--slowlog-log-slower-than", "0", "--hot-keys-sampling", "1"]);
    let mut client = server.client();
    client.run("CLIENT SETNAME console-test");
    client.run("RPUSH celery a b c");
    client.run("SET \"<b>&\\\"\" v");
    client.run("GET \"<b>&\\\"\"");
    let (status, text) = get(port, "/state.json?keys=celery,nosuch");
    assert_eq!(status, 200);
    let json = body(&text);
    for part in [
        "{\"key\":\"celery\",\"type\":\"list\",\"length\":3}",
        "{\"key\":\"nosuch\"}",
        "\"args\":[\"GET\",\"<b>&\\\"\"]",
        "\"name\":\"console-test\"",
        "\"silent_shards\":0",
        "\"hot_keys\":[{\"key\":\"<b>&\\\"\",\"uses\":2}",
        "{\"name\":\"rpush\",\"calls\":1,",
    ] {
        assert!(json.contains(part), "{part} in {json}");
    }
    wait_until("there is a history", || !get(port, "/state.json").1.contains("\"at\":[]"));
}

#[test]
fn metrics_are_exporters() {
    let (server, port) = start(3, &[]);
    let mut client = server.client();
    client.run("MSET a 1 b 2 c 3");
    client.run("LPUSH a x");
    client.run("EXPIRE a 1000");
    let (_, text) = get(port, "/metrics");
    let metrics = body(&text);
    for line in [
        "redis_up 1",
        "# TYPE redis_commands_processed_total counter",
        "redis_db_keys{db=\"db0\"} 3",
        "redis_db_keys_expiring{db=\"db0\"} 1",
        "redis_commands_total{cmd=\"mset\"} 1",
        "redis_commands_failed_calls_total{cmd=\"lpush\"} 1",
        "redis_errors_total{err=\"WRONGTYPE\"} 1",
        "redis_latency_percentiles_usec_count{cmd=\"mset\"} 1",
        "redis_commands_latencies_usec_bucket{cmd=\"mset\",le=\"+Inf\"} 1",
        "redis_config_value{key=\"maxclients\"} ",
        "corelane_shard_keys{shard=\"2\"} ",
    ] {
        assert!(metrics.lines().any(|own| own.starts_with(line)), "{line} in {metrics}");
    }
    let mut names = std::collections::HashSet::new();
    for line in metrics.lines() {
        match line.strip_prefix("# TYPE ") {
            Some(rest) => assert!(names.insert(rest.to_string()), "{rest} stands twice"),
            None if line.starts_with('#') => {}
            None => {
                let (name, value) = line.rsplit_once(' ').expect("a value");
                value.parse::<f64>().unwrap_or_else(|_| panic!("{line}"));
                let name = name.split('{').next().expect("a name");
                let base = ["_bucket", "_sum", "_count"].iter().find_map(|s| name.strip_suffix(s));
                let known =
                    |name: &str| names.iter().any(|own| own.split(' ').next() == Some(name));
                assert!(known(name) || base.is_some_and(known), "{line} has no type");
            }
        }
    }
}

#[test]
fn slow_peers_hold_up_nobody() {
    let (server, port) = start(1, &[]);
    let mut idle: Vec<TcpStream> =
        (0..12).map(|_| TcpStream::connect(("127.0.0.1", port)).expect("a connection")).collect();
    for stream in &mut idle {
        stream.write_all(b"GET / HT").expect("sent");
    }
    assert_eq!(get(port, "/healthz").0, 200);
    assert_eq!(server.client().run("PING").text(), "PONG");
    // They are given up after a while.
    let mut rest = Vec::new();
    idle[0].set_read_timeout(Some(Duration::from_secs(15))).expect("set");
    assert_eq!(idle[0].read_to_end(&mut rest).expect("closed"), 0);
}
