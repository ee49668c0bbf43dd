//! The Helm chart: `chart.py` renders and looks at it, then each configuration that comes of it serves.

use super::{Scratch, in_repository, is_there, option, serve};
use crate::clients::run::run;
use crate::harness::process::{corelane_binary, free_port};
use crate::harness::tls::{Authority, Use};
use crate::harness::{Cmd, PATIENCE, Server, wait_until};
use std::fs;
use std::path::{Path, PathBuf};

/// A Python that has Helm's engine and the schemas: that of `scripts/test`, or the one on the PATH.
fn python() -> Option<String> {
    let own = in_repository("tests/.venv/bin/python").display().to_string();
    let candidates = [own, "python3".to_string()];
    let imports = ["-c", "import helm_python, kubernetes_validate, yaml"];
    let python = candidates.into_iter().find(|python| {
        let there = !python.contains('/') || Path::new(python).exists();
        there && run(python, &imports, b"", PATIENCE).code == Some(0)
    });
    // There are wheels for one architecture only.
    if python.is_some() || cfg!(target_arch = "x86_64") {
        is_there(python.is_some(), "helm-python-sdk or kubernetes-validate");
    }
    python
}

/// Renders all cases; answers the files of configurations.
fn render(python: &str, into: &Path) -> Vec<PathBuf> {
    let script = in_repository("tests/packaging/chart.py").display().to_string();
    let text = run(python, &[&script, &into.display().to_string()], b"", PATIENCE).ok();
    eprint!("{text}");
    let entries = fs::read_dir(into).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|end| end == "conf")).collect()
}

#[test]
fn its_objects_are_kubernetes_and_its_configurations_serve() {
    let Some(python) = python() else { return };
    let scratch = Scratch::new();
    let files = render(&python, &scratch.0);
    assert!(files.len() >= 15, "{files:?}");
    for file in files {
        eprintln!("{}", file.display());
        let conf = fs::read_to_string(&file).unwrap();
        let args = fs::read_to_string(file.with_extension("args")).unwrap();
        let mut args: Vec<String> = args.lines().map(str::to_string).collect();
        let password = args.iter().position(|word| word == "--requirepass");
        let password = password.map(|at| args[at + 1].clone());
        if option(&conf, "admin-port").is_some() {
            args.extend(["--admin-bind", "127.0.0.1"].map(String::from));
            args.extend(["--admin-port".into(), free_port().to_string()]);
        }
        let probe = fs::read_to_string(file.with_extension("probe")).unwrap();
        if option(&conf, "tls-port").is_some() {
            over_tls(&conf, args, &probe);
            continue;
        }
        let server = serve(&conf, &[], &args);
        asks(&server, password.as_deref());
        probe_passes(&probe, server.port, &[]);
    }
}

/// The password, and no other, lets a client in.
fn asks(server: &Server, password: Option<&str>) {
    let mut client = server.client();
    wait_until("it has loaded nothing", || {
        if let Some(password) = password {
            client.call(&Cmd::new(["AUTH", password]));
        }
        client.run("PING").text() == "PONG"
    });
    let mut client = server.client();
    let Some(password) = password else {
        assert_eq!(client.run("SET k v").text(), "OK");
        return;
    };
    assert!(client.run("SET k v").text().starts_with("NOAUTH"));
    assert!(client.run("AUTH other").is_error());
    assert_eq!(client.call(&Cmd::new(["AUTH", password])).text(), "OK");
    assert_eq!(client.run("SET k v").text(), "OK");
}

/// The command of a probe, at the port that stands for 6379.
fn probe_passes(probe: &str, port: u16, places: &[(&str, &Path)]) {
    let mut words: Vec<String> = probe.lines().skip(1).map(str::to_string).collect();
    for word in &mut words {
        for (from, to) in places {
            *word = word.replace(from, &to.display().to_string());
        }
    }
    words.extend(["--port".to_string(), port.to_string()]);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    run(&corelane_binary().display().to_string(), &words, b"", PATIENCE).ok();
}

fn over_tls(conf: &str, mut args: Vec<String>, probe: &str) {
    let scratch = Scratch::new();
    let authority = Authority::new(&scratch.0, "authority");
    let own = authority.issue("server", Use::Both);
    // As the secret is mounted.
    let mounted = scratch.file("tls");
    fs::create_dir(&mounted).unwrap();
    fs::copy(&own.certificate, mounted.join("tls.crt")).unwrap();
    fs::copy(&own.key, mounted.join("tls.key")).unwrap();
    fs::copy(authority.file(), mounted.join("ca.crt")).unwrap();
    let tls_port = free_port();
    args.extend(["--tls-port".to_string(), tls_port.to_string()]);
    let mounted = mounted.join("");
    let places = [("/tls/", mounted.as_path())];
    let _server = serve(conf, &places, &args);
    probe_passes(probe, tls_port, &places);
}
