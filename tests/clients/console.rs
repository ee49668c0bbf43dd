//! The console in a browser: `tests/console/console.py` looks at it, where there is a Chromium.

use super::run::run;
use crate::harness::Server;
use crate::harness::process::free_port;
use std::time::Duration;

#[test]
fn the_console_shows_what_happens() {
    let has = |name: &str| {
        run("sh", &["-c", &format!("command -v {name}")], b"", Duration::from_secs(5)).code
    };
    if std::env::var_os("CHROMIUM").is_none() && has("chromium") != Some(0) {
        eprintln!("there is no Chromium: the console is not looked at");
        return;
    }
    let admin = free_port().to_string();
    let server = Server::corelane_with(2, &["--admin-port", &admin]);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/console/console.py");
    let port = server.port.to_string();
    let output = run("python3", &[script, &port, &admin], b"", Duration::from_secs(120));
    assert_eq!(output.ok().trim(), "ok");
}
