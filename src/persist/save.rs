//! Snapshots of all shards, written to files while the shards go on.
//!
//! ```text
//!   shards ── chunks of entries ──> channel ──> saver thread: base.8.0.rdb, base.8.1.rdb, ...
//!                                                 │ all shards are done: ends, checksums, sync
//!                                                 v
//!              the manifest names them; or they are put together into one dump.rdb
//! ```
//!
//! Until then nothing names the new files, so a crash leaves what was there before.

use super::disk::{Appender, Disk};
use super::journal::Journal;
use super::manifest::{self, Generation, Manifest};
use crate::rdb::output::Output;
use crate::rdb::writer::{Facts, Tally, magic, put_end, put_facts, put_function};
use crate::rdb::{VERSION, VERSION_VALKEY};
use crate::shard::Keyspace;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

/// What the files are for.
pub enum Purpose {
    /// A file for each shard in a directory of their own.
    Files(Arc<dyn Disk>),
    /// One file of this name, as Redis writes it.
    OneFile(Arc<dyn Disk>, String),
    /// The beginning of the data, in place of the segments until the cut.
    Base(Arc<dyn Disk>, Arc<Journal>),
}

/// What the files say of the server.
pub struct About {
    pub redis_version: &'static str,
    /// Seconds since the epoch.
    pub made_at: i64,
    pub used_memory: u64,
    /// The texts of the libraries of functions.
    pub functions: Vec<Vec<u8>>,
}

/// What a shard has to say.
enum News {
    /// The files belong to this generation.
    Generation(Generation),
    Bytes(usize, Vec<u8>),
    /// A shard has given all; which version its file needs.
    Done(usize, u16),
    GiveUp,
}

/// A snapshot under way, as shards see it.
pub struct Saving {
    news: std::sync::Mutex<Sender<News>>,
    /// Bytes that are not written yet.
    pending: Arc<AtomicU64>,
    failed: Arc<AtomicBool>,
}

impl Saving {
    /// Starts the thread; `finished` is called by it with how it went.
    pub fn start(
        purpose: Box<dyn FnOnce() -> io::Result<Purpose> + Send>,
        shards: usize,
        about: About,
        finished: Box<dyn FnOnce(io::Result<u64>) + Send>,
    ) -> io::Result<Saving> {
        let (sender, receiver) = channel();
        let pending = Arc::new(AtomicU64::new(0));
        let failed = Arc::new(AtomicBool::new(false));
        let (left, fails) = (pending.clone(), failed.clone());
        let run = move || {
            let mut saver = Saver { shards, about, files: Vec::new(), pending: left };
            let result = purpose().and_then(|purpose| {
                let result = saver.save(&purpose, &receiver);
                result.inspect_err(|_| saver.clean_up(&purpose))
            });
            fails.store(result.is_err(), Ordering::Relaxed);
            finished(result);
        };
        std::thread::Builder::new().name("saver".to_string()).spawn(run)?;
        Ok(Saving { news: std::sync::Mutex::new(sender), pending, failed })
    }

    fn tell(&self, news: News) {
        // A thread that has gone has said why.
        let sender = self.news.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let _ = sender.send(news);
    }

    /// The generation that was begun at the cut.
    pub fn belongs_to(&self, generation: Generation) {
        self.tell(News::Generation(generation));
    }

    pub fn write(&self, shard: usize, bytes: Vec<u8>) {
        self.pending.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.tell(News::Bytes(shard, bytes));
    }

    pub fn done(&self, shard: usize, version: u16) {
        self.tell(News::Done(shard, version));
    }

    pub fn give_up(&self) {
        self.tell(News::GiveUp);
    }

    /// Bytes that were given and are not written yet.
    pub fn pending(&self) -> u64 {
        self.pending.load(Ordering::Relaxed)
    }

    /// Whether it makes no sense to give more.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }
}

/// Writes snapshots of keys that nobody uses yet, and has the manifest name them as the beginning of the data.
pub fn write_base(
    disk: &dyn Disk,
    about: About,
    keyspaces: &mut [Keyspace],
) -> io::Result<Manifest> {
    let (shards, now) = (keyspaces.len(), about.made_at * 1000);
    let generation = Generation { number: next_number(disk)?, shards };
    let saver = Saver { shards, about, files: Vec::new(), pending: Arc::default() };
    for (shard, keyspace) in keyspaces.iter_mut().enumerate() {
        let file = saver.begin_file(disk, generation.base(shard), shard == 0, true)?;
        fill(file, keyspace, now)?;
    }
    disk.sync_names()?;
    put_manifest(disk, generation)
}

/// Writes a snapshot of keys that nobody uses, as Redis writes it. Gives its length.
pub fn write_file(
    disk: &dyn Disk,
    name: &str,
    about: About,
    keyspace: &mut Keyspace,
) -> io::Result<u64> {
    let now = about.made_at * 1000;
    let saver = Saver { shards: 1, about, files: Vec::new(), pending: Arc::default() };
    let new = format!("{name}.new");
    let filled = saver.begin_file(disk, new.clone(), true, false).and_then(|file| {
        fill(file, keyspace, now)?;
        disk.len(&new)
    });
    let len = filled.inspect_err(|_| drop(disk.remove(&new)))?;
    disk.rename(&new, name)?;
    disk.sync_names()?;
    Ok(len)
}

/// Writes all keys of a keyspace that nobody uses, and the end of the file.
fn fill(mut file: ShardFile, keyspace: &mut Keyspace, now: i64) -> io::Result<()> {
    keyspace.begin_snapshot(now, false);
    while file.version.is_none() {
        keyspace.snapshot_step(&mut || true);
        while let Some(bytes) = keyspace.take_output() {
            file.tally.add(&bytes);
            file.file.append(&[&bytes])?;
        }
        file.version = keyspace.end_snapshot().map(|stats| stats.version);
    }
    file.end()
}

struct ShardFile {
    name: String,
    file: Arc<dyn Appender>,
    tally: Tally,
    /// Bytes before the first entry.
    head: u64,
    version: Option<u16>,
}

struct Saver {
    shards: usize,
    about: About,
    files: Vec<ShardFile>,
    pending: Arc<AtomicU64>,
}

impl Saver {
    fn save(&mut self, purpose: &Purpose, news: &Receiver<News>) -> io::Result<u64> {
        let (disk, generation) = match purpose {
            Purpose::Base(disk, _) => (disk, None),
            Purpose::Files(disk) | Purpose::OneFile(disk, _) => {
                (disk, Some(Generation { number: next_number(&**disk)?, shards: self.shards }))
            }
        };
        let mut early = Vec::new();
        let generation = match generation {
            Some(generation) => generation,
            None => loop {
                match receive(news)? {
                    News::Generation(generation) => break generation,
                    other => early.push(other),
                }
            },
        };
        let is_base = matches!(purpose, Purpose::Base(..));
        for shard in 0..self.shards {
            let file = self.begin_file(&**disk, generation.base(shard), shard == 0, is_base)?;
            self.files.push(file);
        }
        for news in early {
            self.take(news)?;
        }
        while self.files.iter().any(|file| file.version.is_none()) {
            let next = receive(news)?;
            self.take(next)?;
        }
        for file in &mut self.files {
            file.end()?;
        }
        disk.sync_names()?;
        let len = self.files.iter().map(|file| file.tally.file_len() + 8).sum();
        match purpose {
            Purpose::Base(_, journal) => journal.rebase(generation),
            Purpose::Files(disk) => drop(put_manifest(&**disk, generation)?),
            Purpose::OneFile(disk, name) => self.join(&**disk, name)?,
        }
        Ok(len)
    }

    fn begin_file(
        &self,
        disk: &dyn Disk,
        name: String,
        is_first: bool,
        is_base: bool,
    ) -> io::Result<ShardFile> {
        let file = disk.create(&name)?;
        let mut out = Output::default();
        put_facts(
            &mut out,
            &Facts {
                redis_version: self.about.redis_version,
                made_at: self.about.made_at,
                used_memory: self.about.used_memory,
                is_aof_base: is_base,
            },
        );
        for code in self.about.functions.iter().filter(|_| is_first) {
            put_function(&mut out, code);
        }
        let mut tally = Tally::default();
        tally.add(&out.bytes);
        file.append(&[&magic(VERSION), &out.bytes])?;
        let head = tally.file_len();
        Ok(ShardFile { name, file, tally, head, version: None })
    }

    fn take(&mut self, news: News) -> io::Result<()> {
        match news {
            News::Bytes(shard, bytes) => {
                let file = &mut self.files[shard];
                let written = file.file.append(&[&bytes]);
                file.tally.add(&bytes);
                self.pending.fetch_sub(bytes.len() as u64, Ordering::Relaxed);
                written
            }
            News::Done(shard, version) => {
                self.files[shard].version = Some(version);
                Ok(())
            }
            News::GiveUp => Err(io::Error::other("it was given up")),
            News::Generation(_) => Ok(()),
        }
    }

    /// Puts all shards' entries into one file.
    fn join(&self, disk: &dyn Disk, name: &str) -> io::Result<()> {
        let new = format!("{name}.new");
        let file = disk.create(&new)?;
        let versions = self.files.iter().filter_map(|file| file.version);
        let version = versions.max().unwrap_or(VERSION);
        file.append(&[&magic(version)])?;
        let mut tally = Tally::default();
        for (at, part) in self.files.iter().enumerate() {
            // The facts and functions are those of the first.
            let from = if at == 0 { magic(VERSION).len() as u64 } else { part.head };
            // Its end and checksum follow the entries.
            let to = part.tally.file_len() - 1;
            let mut source = disk.read(&part.name)?;
            io::copy(&mut source.by_ref().take(from), &mut io::sink())?;
            let mut source = source.take(to - from);
            let mut piece = vec![0; 1 << 20];
            loop {
                let read = source.read(&mut piece)?;
                if read == 0 {
                    break;
                }
                tally.add(&piece[..read]);
                file.append(&[&piece[..read]])?;
            }
        }
        let mut whole = ShardFile { name: new, file, tally, head: 0, version: Some(version) };
        whole.end()?;
        disk.rename(&whole.name, name)?;
        disk.sync_names()?;
        self.files.iter().for_each(|part| drop(disk.remove(&part.name)));
        Ok(())
    }

    /// Takes away what was written in vain.
    fn clean_up(&self, purpose: &Purpose) {
        let (Purpose::Files(disk) | Purpose::OneFile(disk, _) | Purpose::Base(disk, _)) = purpose;
        self.files.iter().for_each(|file| drop(disk.remove(&file.name)));
    }
}

impl ShardFile {
    /// Writes what follows the last entry; then all is on disk.
    fn end(&mut self) -> io::Result<()> {
        let version = self.version.unwrap_or(VERSION);
        let mut out = Output::default();
        put_end(&mut out);
        self.tally.add(&out.bytes);
        out.bytes.extend_from_slice(&self.tally.checksum(version).to_le_bytes());
        self.file.append(&[&out.bytes])?;
        if version == VERSION_VALKEY {
            // It was not known at the beginning.
            self.file.overwrite(0, &magic(version))?;
        }
        self.file.sync()
    }
}

fn receive(news: &Receiver<News>) -> io::Result<News> {
    news.recv().map_err(|_| io::Error::other("the server stops"))
}

fn read_manifest(disk: &dyn Disk) -> io::Result<Manifest> {
    let mut text = Vec::new();
    match disk.read(manifest::NAME) {
        Ok(mut file) => file.read_to_end(&mut text)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Manifest::default()),
        Err(error) => return Err(error),
    };
    Manifest::parse(&text).map_err(io::Error::other)
}

fn next_number(disk: &dyn Disk) -> io::Result<u64> {
    read_manifest(disk).map(|manifest| manifest.next_number())
}

/// Has the manifest name these files, and takes others away.
fn put_manifest(disk: &dyn Disk, generation: Generation) -> io::Result<Manifest> {
    let manifest = Manifest { base: Some(generation), segments: Vec::new() };
    disk.replace(manifest::NAME, manifest.text().as_bytes())?;
    let needed = manifest.files();
    for name in disk.list()? {
        if manifest::is_data_file(&name) && !needed.contains(&name) {
            let _ = disk.remove(&name);
        }
    }
    Ok(manifest)
}
