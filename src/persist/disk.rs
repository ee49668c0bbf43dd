//! The seam to the file system: what persistence needs of a directory, and no more.
//!
//! Behind it is a directory, or for tests a disk that fails, fills up and forgets what was not synced.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, IoSlice, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A directory. Names are file names in it.
pub trait Disk: Send + Sync {
    /// Makes a file, empty if it is there already, to append to.
    fn create(&self, name: &str) -> io::Result<Arc<dyn Appender>>;

    /// Opens a file to append to it, cut to `len` bytes.
    fn append_from(&self, name: &str, len: u64) -> io::Result<Arc<dyn Appender>>;

    fn read(&self, name: &str) -> io::Result<Box<dyn Read + Send>>;

    fn len(&self, name: &str) -> io::Result<u64>;

    /// Puts a whole file in the place of the one with this name: after a sudden end there is the old one or the new
    /// one, and when this returns it is the new one.
    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()>;

    fn remove(&self, name: &str) -> io::Result<()>;

    /// Gives a file another name, in place of the one that had it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// The names of all files.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes sure that new names stay after a sudden end.
    fn sync_names(&self) -> io::Result<()>;

    /// For people.
    fn path(&self, name: &str) -> PathBuf;
}

/// A file that grows at its end.
pub trait Appender: Send + Sync {
    /// Appends all of the pieces. After an error any part of them may be there.
    fn append(&self, pieces: &[&[u8]]) -> io::Result<()>;

    /// Writes over what is there.
    fn overwrite(&self, at: u64, bytes: &[u8]) -> io::Result<()>;

    /// Cuts the file, after an append that failed.
    fn truncate(&self, len: u64) -> io::Result<()>;

    /// Returns when what was appended stays after a sudden end.
    fn sync(&self) -> io::Result<()>;
}

/// How long it takes a disk that is slow on purpose to do something.
const SLOW: Duration = Duration::from_millis(3);

/// A directory of the file system.
#[derive(Debug, Clone)]
pub struct Directory {
    root: PathBuf,
    /// Whatever changes something takes so long, for tests.
    delay: Option<Duration>,
    /// Locked as long as somebody has this.
    claim: Option<Arc<File>>,
}

impl Directory {
    /// Makes the directory if it is not there.
    pub fn open(root: &Path) -> io::Result<Directory> {
        fs::create_dir_all(root)?;
        // So that messages name it whole, whatever the working directory is.
        let root = fs::canonicalize(root)?;
        Ok(Directory { root, delay: None, claim: None })
    }

    /// The same directory on a disk that takes its time.
    pub fn slowed(self) -> Directory {
        Directory { delay: Some(SLOW), ..self }
    }

    fn take_time(&self) {
        self.delay.into_iter().for_each(std::thread::sleep);
    }

    fn appender(&self, file: File) -> Arc<dyn Appender> {
        match self.delay {
            None => Arc::new(file),
            Some(delay) => Arc::new(Slow { file, delay }),
        }
    }

    /// Keeps other servers from using the directory too, as long as this or a clone of it lives.
    pub fn claimed(mut self) -> io::Result<Directory> {
        let file = File::open(&self.root)?;
        match file.try_lock() {
            Ok(()) => self.claim = Some(Arc::new(file)),
            Err(TryLockError::WouldBlock) => {
                return Err(io::Error::other("another server uses it"));
            }
            // There are file systems without locks.
            Err(TryLockError::Error(error)) => {
                tracing::debug!(path = %self.root.display(), %error, "cannot lock the directory");
            }
        }
        Ok(self)
    }
}

impl Disk for Directory {
    fn create(&self, name: &str) -> io::Result<Arc<dyn Appender>> {
        self.take_time();
        let path = self.root.join(name);
        let file = OpenOptions::new().create(true).write(true).truncate(true).open(path)?;
        Ok(self.appender(file))
    }

    fn append_from(&self, name: &str, len: u64) -> io::Result<Arc<dyn Appender>> {
        let mut file = OpenOptions::new().write(true).open(self.root.join(name))?;
        file.set_len(len)?;
        // Opened for appending, it could not be written over.
        file.seek(SeekFrom::End(0))?;
        Ok(self.appender(file))
    }

    fn read(&self, name: &str) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(File::open(self.root.join(name))?))
    }

    fn len(&self, name: &str) -> io::Result<u64> {
        Ok(fs::metadata(self.root.join(name))?.len())
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.take_time();
        let new = self.root.join(format!("{name}.new"));
        let mut file = File::create(&new)?;
        file.write_all(bytes)?;
        self.take_time();
        file.sync_all()?;
        self.take_time();
        fs::rename(&new, self.root.join(name))?;
        self.sync_names()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.take_time();
        fs::remove_file(self.root.join(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.take_time();
        fs::rename(self.root.join(from), self.root.join(to))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let names = fs::read_dir(&self.root)?;
        names.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn sync_names(&self) -> io::Result<()> {
        self.take_time();
        File::open(&self.root)?.sync_all()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }
}

impl Appender for File {
    fn append(&self, pieces: &[&[u8]]) -> io::Result<()> {
        /// As many as the system takes at once.
        const AT_ONCE: usize = 1024;
        let mut file = self;
        for some in pieces.chunks(AT_ONCE) {
            let mut slices: Vec<IoSlice> = some.iter().map(|piece| IoSlice::new(piece)).collect();
            let mut left = slices.as_mut_slice();
            IoSlice::advance_slices(&mut left, 0);
            while !left.is_empty() {
                match file.write_vectored(left) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(written) => IoSlice::advance_slices(&mut left, written),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    fn overwrite(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        use std::os::unix::fs::FileExt;
        self.write_all_at(bytes, at)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.set_len(len)?;
        let mut file = self;
        file.seek(SeekFrom::Start(len)).map(drop)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

/// A file of a slow disk.
struct Slow {
    file: File,
    delay: Duration,
}

impl Appender for Slow {
    fn append(&self, pieces: &[&[u8]]) -> io::Result<()> {
        std::thread::sleep(self.delay);
        self.file.append(pieces)
    }

    fn overwrite(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        std::thread::sleep(self.delay);
        self.file.overwrite(at, bytes)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.file.truncate(len)
    }

    fn sync(&self) -> io::Result<()> {
        std::thread::sleep(self.delay);
        self.file.sync()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_the_directory() {
        let root = std::env::temp_dir().join(format!("corelane-claim-{}", std::process::id()));
        let open = || Directory::open(&root).unwrap();
        let first = open().claimed().unwrap();
        let second = first.clone();
        drop(first);
        assert_eq!(open().claimed().unwrap_err().to_string(), "another server uses it");
        drop(second);
        open().claimed().unwrap();
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn files_grow_are_cut_and_replaced() {
        let root = std::env::temp_dir().join(format!("corelane-disk-{}", std::process::id()));
        let disk = Directory::open(&root).unwrap();
        let content = |name: &str| {
            let mut bytes = Vec::new();
            disk.read(name).unwrap().read_to_end(&mut bytes).unwrap();
            String::from_utf8(bytes).unwrap()
        };
        let file = disk.create("a").unwrap();
        file.append(&[b"", b"one ", b"two", b""]).unwrap();
        file.append(&[]).unwrap();
        file.truncate(4).unwrap();
        file.append(&[b"three"]).unwrap();
        file.sync().unwrap();
        assert_eq!(content("a"), "one three");
        let file = disk.append_from("a", 4).unwrap();
        file.overwrite(1, b"NE").unwrap();
        assert_eq!(content("a"), "oNE ");
        file.append(&vec![b"x".as_slice(); 3000]).unwrap();
        assert_eq!(disk.len("a").unwrap(), 3004);
        disk.replace("b", b"whole").unwrap();
        disk.replace("b", b"new").unwrap();
        assert_eq!(content("b"), "new");
        disk.remove("a").unwrap();
        assert_eq!(disk.list().unwrap(), ["b"]);
        fs::remove_dir_all(root).unwrap();
    }
}
