//! `corelane export`: one RDB file of what a data directory has.

use super::loaded::Loaded;
use super::looked_through::{Copy, corelane, written};
use crate::harness::{Reply, Server};
use corelane::persist::foreign::Source;
use std::path::Path;

const NOW: i64 = 1_800_000_000_000;

fn export(file: &Path, dir: &Path, more: &[&str]) -> (i32, String) {
    let args = ["export", file.to_str().unwrap(), "--dir", dir.to_str().unwrap()];
    corelane(&[&args[..], more].concat())
}

#[test]
fn all_that_is_there_is_in_the_file() {
    let server = written(3);
    let copy = Copy::of(&server.dir, "export");
    let file = copy.0.join("all.rdb");
    let (code, text) = export(&file, &copy.0, &[]);
    assert!(code == 0 && text.contains("92 keys"), "{text}");
    let mut loaded = Loaded::at(NOW);
    let report = loaded.load(&Source::Rdb(file.clone())).unwrap();
    assert_eq!((report.progress.keys, report.functions, report.torn), (92, 1, None));
    // What a server of ours has from the append-only files is what is in the file.
    let dir = copy.0.to_str().unwrap();
    let server = Server::corelane_with(2, &["--appendonly", "yes", "--dir", dir]);
    let mut client = server.client();
    for key in loaded.keys() {
        client.run(&format!("SELECT {}", key.db));
        let name = String::from_utf8(key.name.clone()).unwrap();
        let payload = client.run(&format!("DUMP {name}"));
        assert_eq!(payload, Reply::Bulk(key.payload.clone()), "{name}");
        let at = client.run(&format!("PEXPIRETIME {name}"));
        assert_eq!(at, Reply::Int(key.expire_at.unwrap_or(-1)), "{name}");
    }
    assert_eq!(client.run("FCALL f 0"), Reply::Int(1));
}

#[test]
fn a_file_is_replaced_only_if_that_is_wanted() {
    let server = written(2);
    let copy = Copy::of(&server.dir, "replace");
    let file = copy.0.join("all.rdb");
    std::fs::write(&file, "precious").unwrap();
    let (code, text) = export(&file, &copy.0, &[]);
    assert!(code == 1 && text.contains("--force"), "{text}");
    assert_eq!(std::fs::read(&file).unwrap(), b"precious");
    let (code, text) = export(&file, &copy.0, &["--force"]);
    assert_eq!(code, 0, "{text}");
    // A snapshot can be exported too.
    let again = copy.0.join("again.rdb");
    let (code, text) = export(&again, &file, &[]);
    assert!(code == 0 && text.contains("92 keys"), "{text}");
    let empty = copy.0.join("empty");
    std::fs::create_dir(&empty).unwrap();
    let (code, text) = export(&copy.0.join("none.rdb"), &empty, &[]);
    assert!(code == 1 && text.contains("neither"), "{text}");
}
