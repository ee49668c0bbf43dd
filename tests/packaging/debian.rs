//! The Debian package: what `cargo deb` puts into it, and what is run when it is installed.

use super::{Scratch, in_repository, read, serve};
use crate::clients::run::run;
use crate::harness::PATIENCE;

/// The lines of `[package.metadata.deb]`.
fn metadata() -> Vec<String> {
    let manifest = read("Cargo.toml");
    let (_, section) = manifest.split_once("[package.metadata.deb]\n").expect("a section");
    let section = section.split("\n[").next().expect("the first part");
    section.lines().map(str::to_string).collect()
}

/// Source, destination and rights of each file.
fn assets() -> Vec<[String; 3]> {
    let lines = metadata();
    let entries = lines.iter().filter_map(|line| line.trim().strip_prefix("[\""));
    let assets = entries.map(|entry| {
        let words = entry.trim_end_matches("\"],").split("\", \"").map(str::to_string);
        words.collect::<Vec<_>>().try_into().expect("three words")
    });
    assets.collect()
}

#[test]
fn what_is_packed_is_there() {
    let assets = assets();
    assert!(assets.len() >= 4, "{assets:?}");
    for [source, destination, mode] in &assets {
        assert!(source.starts_with("target/") || in_repository(source).exists(), "{source}");
        assert!(!destination.starts_with('/'), "{destination}");
        u32::from_str_radix(mode, 8).expect("rights");
    }
    let lines = metadata();
    let conf_files = lines.iter().find(|line| line.starts_with("conf-files")).expect("they are");
    assert!(assets.iter().any(|[_, to, _]| conf_files.contains(&format!("\"/{to}\""))));
    for directory in ["configs/debian", "configs/systemd"] {
        assert!(lines.iter().any(|line| line.contains(directory)), "{directory}");
    }
}

#[test]
fn its_scripts_are_of_the_shell() {
    for name in ["postinst", "postrm"] {
        let path = format!("configs/debian/{name}");
        let script = read(&path);
        assert!(script.starts_with("#!/bin/sh\nset -e\n"), "{name}");
        // What starts, stops and forgets the unit is put here.
        assert_eq!(script.lines().filter(|line| *line == "#DEBHELPER#").count(), 1, "{name}");
        run("sh", &["-n", &in_repository(&path).display().to_string()], b"", PATIENCE).ok();
    }
}

#[test]
fn its_configuration_serves() {
    let conf = read("configs/debian/corelane.conf");
    let scratch = Scratch::new();
    let server = serve(&conf, &[("/run/corelane", &scratch.0)], &[]);
    assert_eq!(server.client().run("SET k v").text(), "OK");
    let appendonly = server.client().run("CONFIG GET appendonly");
    assert_eq!(appendonly.field("appendonly").unwrap().text(), "yes");
    let socket = scratch.file("corelane.sock").display().to_string();
    assert_eq!(run("redis-cli", &["-s", &socket, "get", "k"], b"", PATIENCE).ok().trim(), "v");
}
