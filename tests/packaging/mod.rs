//! What a server is installed by: the container image, the Debian package, the systemd unit and the Helm
//! chart, as far as that is seen without a registry, an installation or a cluster.
//!
//! Each configuration that one of them brings is given to a real server, with other ports and directories
//! in place of those of an installation. Deliberately absent: building the image and the package.

mod chart;
mod debian;
mod image;
mod unit;

use crate::clients::run::installed;
use crate::harness::Server;
use crate::harness::process::{corelane_binary, free_port};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A directory that goes with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Scratch {
        Scratch(Server::make_dir())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Whether the tests that need `tool` can run. Where `scripts/test` has installed what they need, its
/// absence is a failure.
fn has(tool: &str) -> bool {
    is_there(installed(tool), tool)
}

fn is_there(found: bool, tool: &str) -> bool {
    let required = std::env::var("CORELANE_TOOLS").is_ok_and(|value| value == "required");
    assert!(found || !required, "{tool} is not installed");
    if !found {
        eprintln!("{tool} is not installed: nothing is tested");
    }
    found
}

fn in_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(in_repository(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The value of an option in the lines of a configuration.
fn option<'a>(conf: &'a str, name: &str) -> Option<&'a str> {
    conf.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
}

/// Starts a server with a configuration, in which `places` stand for those of an installation. It serves
/// a plain port, on 127.0.0.1, whatever the configuration says.
fn serve(conf: &str, places: &[(&str, &Path)], args: &[String]) -> Server {
    let (dir, port) = (Server::make_dir(), free_port());
    let mut text = conf.to_string();
    let own = [(option(conf, "dir").expect("a directory"), dir.as_path())];
    for (from, to) in own.iter().chain(places) {
        assert!(text.contains(from), "{from} in {text}");
        text = text.replace(from, &to.display().to_string());
    }
    let file = dir.join("corelane.conf");
    fs::write(&file, text).unwrap();
    let mut command = Command::new(corelane_binary());
    command.arg(&file).args(args).args(["--bind", "127.0.0.1", "--port", &port.to_string()]);
    Server::launch(command, port, dir, "packaged")
}
