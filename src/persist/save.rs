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

use super::disk::Disk;
use super::journal::Journal;
use super::manifest::{self, Generation, Manifest};
pub use super::shard_files::About;
use super::shard_files::{ShardFile, ShardFiles};
use crate::metrics::tell_balance;
use crate::rt::heap;
use crate::shard::Keyspace;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

/// What the files are for.
pub enum Purpose {
    /// A file for each shard in a directory of their own.
    Files(Arc<dyn Disk>),
    /// The same in the directory of the append-only files, while nothing is appended.
    Beginning(Arc<dyn Disk>),
    /// One file of this name, as Redis writes it.
    OneFile(Arc<dyn Disk>, String),
    /// The beginning of the data, in place of the segments until the cut.
    Base(Arc<dyn Disk>, Arc<Journal>),
}

/// What a shard has to say.
enum News {
    /// The files belong to this generation.
    Generation(Generation),
    Functions(Vec<Vec<u8>>),
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
            let mut saver = Saver::new(shards, about, left);
            let result = purpose().and_then(|purpose| {
                let result = saver.save(&purpose, &receiver);
                let (Purpose::Files(disk)
                | Purpose::Beginning(disk)
                | Purpose::OneFile(disk, _)
                | Purpose::Base(disk, _)) = &purpose;
                result.inspect_err(|_| saver.files.remove(&**disk))
            });
            fails.store(result.is_err(), Ordering::Relaxed);
            drop((saver, receiver));
            tell_balance(heap::balance());
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

    /// The texts of the libraries of functions at the cut. What is recorded behind the cut may be in them
    /// already: it can be done again.
    pub fn has_functions(&self, functions: Vec<Vec<u8>>) {
        self.tell(News::Functions(functions));
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
    for (shard, keyspace) in keyspaces.iter_mut().enumerate() {
        let file = ShardFile::begin(disk, generation.base(shard), &about, shard == 0, true)?;
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
    let new = format!("{name}.new");
    let filled = ShardFile::begin(disk, new.clone(), &about, true, false).and_then(|file| {
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
            file.append(&bytes)?;
        }
        file.version = keyspace.end_snapshot().map(|stats| stats.version);
    }
    file.end()
}

struct Saver {
    shards: usize,
    about: About,
    files: ShardFiles,
    pending: Arc<AtomicU64>,
}

impl Saver {
    fn new(shards: usize, about: About, pending: Arc<AtomicU64>) -> Saver {
        Saver { shards, about, files: ShardFiles::default(), pending }
    }

    fn save(&mut self, purpose: &Purpose, news: &Receiver<News>) -> io::Result<u64> {
        let (disk, generation) = match purpose {
            Purpose::Base(disk, _) => (disk, None),
            Purpose::Files(disk) | Purpose::Beginning(disk) | Purpose::OneFile(disk, _) => {
                (disk, Some(Generation { number: next_number(&**disk)?, shards: self.shards }))
            }
        };
        let (mut generation, mut knows_functions, mut early) = (generation, false, Vec::new());
        let generation = loop {
            if let Some(generation) = generation
                && knows_functions
            {
                break generation;
            }
            match receive(news)? {
                News::Generation(begun) => generation = Some(begun),
                News::Functions(functions) => {
                    (self.about.functions, knows_functions) = (functions, true);
                }
                News::GiveUp => return Err(given_up()),
                other => early.push(other),
            }
        };
        let is_base = matches!(purpose, Purpose::Base(..) | Purpose::Beginning(_));
        self.files.begin(&**disk, generation, &self.about, is_base)?;
        for news in early {
            self.take(news)?;
        }
        while !self.files.are_filled() {
            let next = receive(news)?;
            self.take(next)?;
        }
        let len = self.files.end(&**disk)?;
        match purpose {
            Purpose::Base(_, journal) => {
                // What it cannot do whole may be done all the same: the files are to stay.
                self.files = ShardFiles::default();
                journal.rebase(generation)?;
            }
            Purpose::Files(disk) | Purpose::Beginning(disk) => {
                // Also a manifest that could not be put may be there: what it names is to stay.
                self.files = ShardFiles::default();
                drop(put_manifest(&**disk, generation)?);
            }
            Purpose::OneFile(disk, name) => self.files.join(&**disk, name)?,
        }
        Ok(len)
    }

    fn take(&mut self, news: News) -> io::Result<()> {
        match news {
            News::Bytes(shard, bytes) => {
                let written = self.files.append(shard, &bytes);
                self.pending.fetch_sub(bytes.len() as u64, Ordering::Relaxed);
                drop(bytes);
                tell_balance(heap::balance());
                written
            }
            News::Done(shard, version) => {
                self.files.is_filled(shard, version);
                Ok(())
            }
            News::GiveUp => Err(given_up()),
            News::Generation(_) | News::Functions(_) => Ok(()),
        }
    }
}

fn given_up() -> io::Error {
    io::Error::new(io::ErrorKind::Interrupted, "it was given up")
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
