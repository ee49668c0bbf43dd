//! A disk without room: a small file system in memory, which needs the right to mount one.

use crate::harness::{Client, Reply, Server, wait_until};
use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A file system of its own, gone with this.
struct SmallDisk {
    path: PathBuf,
}

const SIZE: usize = 4 << 20;

impl SmallDisk {
    /// `None` when this may not be done here.
    fn mount() -> Option<SmallDisk> {
        let path = Server::make_dir();
        let text = |s: &str| CString::new(s).expect("no NUL");
        let (tmpfs, target) = (text("tmpfs"), text(&path.display().to_string()));
        let options = text(&format!("size={SIZE}"));
        // SAFETY: all four are texts that end with a NUL and live longer than the call.
        let result = unsafe {
            libc::mount(tmpfs.as_ptr(), target.as_ptr(), tmpfs.as_ptr(), 0, options.as_ptr().cast())
        };
        if result != 0 {
            let _ = std::fs::remove_dir(&path);
            return None;
        }
        Some(SmallDisk { path })
    }

    /// Takes all room that is left.
    fn fill(&self) -> PathBuf {
        use std::io::Write;
        let path = self.path.join("filler");
        let mut file = std::fs::File::create(&path).expect("a file");
        for piece in [64 << 10, 4096, 512] {
            while file.write_all(&vec![0; piece]).is_ok() {}
        }
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let target = CString::new(self.path.display().to_string()).expect("no NUL");
        // SAFETY: the text ends with a NUL and lives longer than the call.
        unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) };
        let _ = std::fs::remove_dir(&self.path);
    }
}

fn start(dir: &Path, policy: &str) -> Server {
    let server = Server::corelane_in(dir, 2, &["--appendonly", "yes", "--appendfsync", policy]);
    wait_loaded(&server);
    server
}

fn wait_loaded(server: &Server) {
    let mut client = server.client();
    wait_until("the data is loaded", || !client.run("EXISTS key").is_error());
}

const WRITERS: u64 = 3;
/// By each of them; all together have room, but not beside the filler.
const WRITES: u64 = 200;

/// Writes pairs of keys, and writes again what was refused. Gives how often that was.
fn write_all(port: u16, writer: u64) -> u64 {
    let mut client = Client::connect(port);
    let mut refused = 0;
    for n in writer * WRITES..(writer + 1) * WRITES {
        let line = format!("MSET a{n} {n} b{n} rep(3000,\"x\")");
        loop {
            let reply = client.run(&line);
            if !reply.is_error() {
                break;
            }
            assert!(reply.text().starts_with("MISCONF"), "{reply:?}");
            refused += 1;
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    refused
}

fn goes_on_when_there_is_room(policy: &str) {
    let Some(disk) = SmallDisk::mount() else {
        println!("skipped: no file system can be mounted here");
        return;
    };
    let mut server = start(&disk.path, policy);
    let port = server.port;
    let mut client = server.client();
    client.run("SET before 1");
    let filler = disk.fill();
    let status = |server: &Server| server.info("aof_last_write_status").expect("a field");
    // Those that find the disk full are answered when there is room, and those behind them are refused.
    let writers: Vec<_> =
        (0..WRITERS).map(|n| std::thread::spawn(move || write_all(port, n))).collect();
    wait_until("the disk is full", || status(&server) == "err");
    assert!(client.run("SET refused 1").text().starts_with("MISCONF"));
    let script = "EVAL 'return redis.call(\"SET\", KEYS[1], 1)' 1 refused";
    assert!(client.run(script).text().starts_with("MISCONF"));
    assert_eq!(client.run("GET before"), Reply::Bulk(b"1".to_vec()), "reads go on");
    std::thread::sleep(Duration::from_millis(300));
    assert!(client.run("DEL before").text().starts_with("MISCONF"));
    assert!(writers.iter().all(|writer| !writer.is_finished()));
    std::fs::remove_file(filler).expect("the filler");
    let refused: u64 = writers.into_iter().map(|writer| writer.join().expect("a writer")).sum();
    println!("{policy}: {refused} writes were refused");
    assert_eq!(status(&server), "ok");
    assert_eq!(client.run("GET refused"), Reply::NilBulk);
    server.end(libc::SIGKILL);
    drop(server);
    // A start needs no room.
    let mut server = start(&disk.path, policy);
    let mut client = server.client();
    for n in 0..WRITERS * WRITES {
        let there = client.run(&format!("MGET a{n} b{n}"));
        let values = [Reply::Bulk(n.to_string().into_bytes()), Reply::Bulk(vec![b'x'; 3000])];
        assert_eq!(there, Reply::Array(values.into()), "a{n} b{n}");
    }
    assert_eq!(client.run("GET before"), Reply::Bulk(b"1".to_vec()));
    server.end(libc::SIGKILL);
}

#[test]
fn a_full_disk_refuses_writes_until_there_is_room_with_always() {
    goes_on_when_there_is_room("always");
}

#[test]
fn a_full_disk_refuses_writes_until_there_is_room_with_everysec() {
    goes_on_when_there_is_room("everysec");
}
