//! A disk in memory that knows what was synced, and loses the rest when its power fails.
//!
//! What was not synced is, by file and without regard to other files: gone, there, there up to some place,
//! there in pieces with zeros between them, or zeros of the right length. The same holds of
//! names that were made, replaced or removed since names were synced, each by itself.
//!
//! A sync that fails may have the system take what it could not write for written, as Linux does: then the
//! next sync succeeds, and it is not on disk.

use corelane::persist::Disk;
use corelane::persist::disk::Appender;
use std::collections::BTreeMap;
use std::io::{self, Cursor, Read};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

/// What was done to a file since it was synced.
enum Change {
    Append { at: usize, bytes: Vec<u8> },
    Truncate(usize),
}

#[derive(Default)]
struct File {
    content: Vec<u8>,
    /// What stays, whatever happens.
    durable: Vec<u8>,
    changes: Vec<Change>,
}

type Names = BTreeMap<String, usize>;

struct State {
    files: Vec<File>,
    names: Names,
    durable_names: Names,
    random: fastrand::Rng,
    /// One call in so many fails, with no other effect than that of half of it.
    failures: Option<u32>,
    /// Calls until the power fails.
    fuse: Option<u32>,
    dead: bool,
    /// All syncs fail.
    syncs_fail: bool,
    /// What a sync that fails should have written is not written by the next one.
    forgets: bool,
    /// Nor can it be read any more.
    evicts: bool,
}

struct Inner {
    state: Mutex<State>,
    /// Syncs wait as long as it is closed.
    closed: Mutex<bool>,
    opened: Condvar,
}

/// The disk; clones are the same one.
#[derive(Clone)]
pub struct SimDisk(Arc<Inner>);

impl SimDisk {
    pub fn new(seed: u64) -> SimDisk {
        let state = State {
            files: Vec::new(),
            names: Names::new(),
            durable_names: Names::new(),
            random: fastrand::Rng::with_seed(seed),
            failures: None,
            fuse: None,
            dead: false,
            syncs_fail: false,
            forgets: false,
            evicts: false,
        };
        let (closed, opened) = (Mutex::new(false), Condvar::new());
        SimDisk(Arc::new(Inner { state: Mutex::new(state), closed, opened }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }

    /// Syncs take until this is called with `false`.
    pub fn hold_syncs(&self, hold: bool) {
        *self.0.closed.lock().unwrap() = hold;
        self.0.opened.notify_all();
    }

    /// All syncs fail from now on, or only those that fail by chance.
    pub fn fail_syncs(&self, fail: bool) {
        self.state().syncs_fail = fail;
    }

    /// What a sync that fails should have written is taken for written, and maybe cannot be read either.
    pub fn forget(&self, evicts: bool) {
        let mut state = self.state();
        (state.forgets, state.evicts) = (true, evicts);
    }

    /// One call in so many fails from now on.
    pub fn fail_at_times(&self, failures: Option<u32>) {
        self.state().failures = failures;
    }

    /// The power fails after so many calls.
    pub fn light_fuse(&self, calls: u32) {
        self.state().fuse = Some(calls);
    }

    pub fn is_dead(&self) -> bool {
        self.state().dead
    }

    /// The power fails, and comes back.
    pub fn crash(&self) {
        let mut state = self.state();
        let state = &mut *state;
        (state.fuse, state.dead, state.failures) = (None, false, None);
        state.syncs_fail = false;
        for file in &mut state.files {
            file.crash(&mut state.random);
        }
        let mut all: Vec<&String> = state.names.keys().chain(state.durable_names.keys()).collect();
        all.sort();
        all.dedup();
        let mut left = Names::new();
        for name in all {
            let which = if state.random.bool() { &state.names } else { &state.durable_names };
            if let Some(&file) = which.get(name) {
                left.insert(name.clone(), file);
            }
        }
        (state.names, state.durable_names) = (left.clone(), left);
    }

    /// The process ends, and nothing is lost.
    pub fn kill(&self) {
        let mut state = self.state();
        (state.fuse, state.failures) = (None, None);
    }

    /// The content of a file.
    pub fn content(&self, name: &str) -> Vec<u8> {
        let state = self.state();
        state.files[state.names[name]].content.clone()
    }

    /// Changes a byte where nothing is at work.
    pub fn damage(&self, name: &str, at: usize, bits: u8) {
        let mut state = self.state();
        let file = state.names[name];
        state.files[file].content[at] ^= bits;
        state.files[file].durable[at] ^= bits;
    }
}

impl File {
    fn append(&mut self, bytes: &[u8]) {
        let at = self.content.len();
        self.content.extend_from_slice(bytes);
        self.changes.push(Change::Append { at, bytes: bytes.to_vec() });
    }

    fn truncate(&mut self, len: usize) {
        self.content.truncate(len);
        self.changes.push(Change::Truncate(len));
    }

    fn overwrite(&mut self, at: usize, bytes: &[u8]) {
        write_at(&mut self.content, at, bytes);
        self.changes.push(Change::Append { at, bytes: bytes.to_vec() });
    }

    fn sync(&mut self) {
        for change in self.changes.drain(..) {
            match change {
                Change::Append { at, bytes } => write_at(&mut self.durable, at, &bytes),
                Change::Truncate(len) => self.durable.truncate(len),
            }
        }
    }

    /// What has changed since the last sync is taken for written, though it is not.
    fn forget(&mut self, evicts: bool) {
        for change in self.changes.drain(..) {
            match change {
                Change::Append { at, bytes } if evicts => {
                    write_at(&mut self.content, at, &vec![0; bytes.len()]);
                }
                Change::Append { .. } => {}
                // Lengths are kept by other means than what is in files.
                Change::Truncate(len) => self.durable.truncate(len),
            }
        }
    }

    fn crash(&mut self, random: &mut fastrand::Rng) {
        let mut left = std::mem::take(&mut self.durable);
        match random.u8(0..5) {
            0 => {}
            1 => left = std::mem::take(&mut self.content),
            how => self.lose_some(&mut left, how, random),
        }
        self.changes.clear();
        (self.content, self.durable) = (left.clone(), left);
    }

    /// Changes come to the disk in pieces; which of them have arrived?
    fn lose_some(&mut self, left: &mut Vec<u8>, how: u8, random: &mut fastrand::Rng) {
        for change in &self.changes {
            let (at, bytes) = match change {
                // The length of a file is kept in order.
                Change::Truncate(_) if random.u8(0..4) == 0 => return,
                Change::Truncate(len) => {
                    left.truncate(*len);
                    continue;
                }
                Change::Append { at, bytes } => (*at, bytes),
            };
            let mut from = 0;
            while from < bytes.len() {
                let to = (from + random.usize(1..60)).min(bytes.len());
                let arrived = random.bool();
                match how {
                    // Up to some place.
                    2 if random.u8(0..12) == 0 => return,
                    2 => write_at(left, at + from, &bytes[from..to]),
                    // In any order.
                    3 if arrived => write_at(left, at + from, &bytes[from..to]),
                    3 => {}
                    // The length, and some of what is in it.
                    _ if arrived => write_at(left, at + from, &bytes[from..to]),
                    // What is written over stays as it was.
                    _ => left.resize(left.len().max(at + to), 0),
                }
                from = to;
            }
        }
    }
}

fn write_at(file: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if file.len() < at + bytes.len() {
        file.resize(at + bytes.len(), 0);
    }
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

impl State {
    /// Before every call: whether it is to be done whole. Otherwise it fails, and half of it may be done.
    fn call(&mut self) -> io::Result<()> {
        if self.dead {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        if let Some(fuse) = &mut self.fuse {
            if *fuse == 0 {
                self.dead = true;
                return Err(io::Error::from_raw_os_error(libc::EIO));
            }
            *fuse -= 1;
        }
        match self.failures {
            Some(failures) if self.random.u32(..failures) == 0 => {
                let error = [libc::EIO, libc::ENOSPC][self.random.usize(..2)];
                Err(io::Error::from_raw_os_error(error))
            }
            _ => Ok(()),
        }
    }

    fn open(&self, name: &str) -> io::Result<usize> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn make(&mut self, name: &str) -> usize {
        self.files.push(File::default());
        self.names.insert(name.to_string(), self.files.len() - 1);
        self.files.len() - 1
    }
}

struct Handle {
    disk: SimDisk,
    file: usize,
}

impl Appender for Handle {
    fn append(&self, pieces: &[&[u8]]) -> io::Result<()> {
        let mut state = self.disk.state();
        let bytes = pieces.concat();
        let was_dead = state.dead;
        let called = state.call();
        let len = match called {
            Ok(()) => bytes.len(),
            Err(_) if was_dead => 0,
            Err(_) => state.random.usize(..=bytes.len()),
        };
        state.files[self.file].append(&bytes[..len]);
        called
    }

    fn overwrite(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state();
        state.call()?;
        state.files[self.file].overwrite(at as usize, bytes);
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.call()?;
        state.files[self.file].truncate(len as usize);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut closed = self.disk.0.closed.lock().unwrap();
        while *closed {
            closed = self.disk.0.opened.wait(closed).unwrap();
        }
        drop(closed);
        let mut state = self.disk.state();
        let fails = state.syncs_fail.then(|| io::Error::from_raw_os_error(libc::EIO));
        let called = fails.map_or_else(|| state.call(), Err);
        let (dead, forgets, evicts) = (state.dead, state.forgets, state.evicts);
        let file = &mut state.files[self.file];
        match &called {
            Ok(()) => file.sync(),
            Err(_) if forgets && !dead => file.forget(evicts),
            Err(_) => {}
        }
        called
    }
}

impl Disk for SimDisk {
    fn create(&self, name: &str) -> io::Result<Arc<dyn Appender>> {
        let mut state = self.state();
        state.call()?;
        let file = match state.open(name) {
            Ok(file) => {
                state.files[file].truncate(0);
                file
            }
            Err(_) => state.make(name),
        };
        Ok(Arc::new(Handle { disk: self.clone(), file }))
    }

    fn append_from(&self, name: &str, len: u64) -> io::Result<Arc<dyn Appender>> {
        let mut state = self.state();
        state.call()?;
        let file = state.open(name)?;
        if state.files[file].content.len() > len as usize {
            state.files[file].truncate(len as usize);
        }
        Ok(Arc::new(Handle { disk: self.clone(), file }))
    }

    fn read(&self, name: &str) -> io::Result<Box<dyn Read + Send>> {
        let state = self.state();
        let content = state.files[state.open(name)?].content.clone();
        Ok(Box::new(Cursor::new(content)))
    }

    fn len(&self, name: &str) -> io::Result<u64> {
        let state = self.state();
        Ok(state.files[state.open(name)?].content.len() as u64)
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        state.call()?;
        let file = state.make(&format!("{name}.new"));
        state.files[file].append(bytes);
        state.call()?;
        state.files[file].sync();
        state.call()?;
        state.names.remove(&format!("{name}.new"));
        state.names.insert(name.to_string(), file);
        drop(state);
        self.sync_names()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.call()?;
        state.names.remove(name).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        state.call()?;
        let file = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_string(), file);
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state().names.keys().cloned().collect())
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut state = self.state();
        state.call()?;
        state.durable_names = state.names.clone();
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from("/simulated").join(name)
    }
}
