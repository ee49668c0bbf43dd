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
    wait_until("the data is loaded", Duration::from_secs(20), || {
        !client.run("EXISTS key").is_error()
    });
}

/// Writes numbered keys in pairs until it is refused. What was not answered may be there or not.
fn write_until_refused(port: u16, from: u64) -> u64 {
    let mut client = Client::connect(port);
    for n in from.. {
        let reply = client.run(&format!("MSET a{n} {n} b{n} rep(3000,\"x\")"));
        if reply.is_error() {
            assert!(reply.text().starts_with("MISCONF"), "{reply:?}");
            return n;
        }
    }
    unreachable!("a small disk is full some time")
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
    // The one that finds the disk full is not answered before there is room, and those behind it are refused.
    let writers: Vec<_> = (0..3)
        .map(|n| std::thread::spawn(move || write_until_refused(port, n * 1_000_000)))
        .collect();
    wait_until("writes are refused", Duration::from_secs(20), || {
        client.run("SET refused 1").is_error()
    });
    assert!(client.run("SET refused 1").text().starts_with("MISCONF"));
    assert_eq!(client.run("GET before"), Reply::Bulk(b"1".to_vec()), "reads go on");
    assert_eq!(server.info("aof_last_write_status").as_deref(), Some("err"));
    std::fs::remove_file(filler).expect("the filler");
    wait_until("writes go on", Duration::from_secs(20), || !client.run("SET after 1").is_error());
    assert_eq!(server.info("aof_last_write_status").as_deref(), Some("ok"));
    // They fill the rest of the disk now, if they were not refused before.
    let written: Vec<u64> =
        writers.into_iter().map(|writer| writer.join().expect("a writer")).collect();
    server.end(libc::SIGKILL);
    drop(server);
    // A start needs no room.
    let mut server = start(&disk.path, policy);
    let mut client = server.client();
    for (writer, &end) in (0..).zip(&written) {
        for n in writer * 1_000_000..end {
            let there = client.run(&format!("MGET a{n} b{n}"));
            let Reply::Array(values) = &there else { panic!("{there:?}") };
            assert_eq!(values[0], Reply::Bulk(n.to_string().into_bytes()), "a{n}");
            assert_eq!(values[1], Reply::Bulk(vec![b'x'; 3000]), "b{n}");
        }
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
