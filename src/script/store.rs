//! The scripts that the whole server knows, by their SHA-1.
//!
//! A shard compiles a script when it first runs it and then asks here no more: only who does not
//! know a script, or has a new one, takes the lock. SCRIPT FLUSH raises the epoch, and every shard
//! that finds it raised forgets what it has compiled.

use super::{Libraries, Sha};
use crate::error::CmdError;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Scripts that came with EVAL and are kept; those of SCRIPT LOAD are kept until they are flushed.
const PASSING_MAX: usize = 500;

#[derive(Default)]
struct Scripts {
    bodies: HashMap<Sha, Arc<[u8]>>,
    /// Those that came with EVAL, the oldest first.
    passing: VecDeque<Sha>,
}

/// All scripts of the server.
#[derive(Default)]
pub struct Store {
    epoch: AtomicU64,
    scripts: Mutex<Scripts>,
    libraries: Mutex<Arc<Libraries>>,
    /// Of the libraries.
    version: AtomicU64,
}

impl Store {
    /// Raised when scripts are forgotten.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    pub fn body(&self, sha: &Sha) -> Option<Arc<[u8]>> {
        self.scripts().bodies.get(sha).cloned()
    }

    /// Keeps a script; one that came with EVAL for as long as not too many others come so.
    pub fn keep(&self, sha: Sha, body: &[u8], loaded: bool) {
        let mut scripts = self.scripts();
        let Scripts { bodies, passing } = &mut *scripts;
        let known = bodies.insert(sha, body.into()).is_some();
        match (known, loaded) {
            (false, false) => passing.push_back(sha),
            (true, true) => passing.retain(|own| *own != sha),
            _ => {}
        }
        if passing.len() > PASSING_MAX
            && let Some(oldest) = passing.pop_front()
        {
            bodies.remove(&oldest);
        }
    }

    /// Forgets all scripts.
    pub fn flush(&self) {
        let mut scripts = self.scripts();
        *scripts = Scripts::default();
        self.epoch.fetch_add(1, Ordering::Release);
    }

    /// The libraries of functions.
    pub fn libraries(&self) -> Arc<Libraries> {
        self.libraries.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Which libraries there are now: other ones have another version.
    pub fn libraries_version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Changes the libraries; on failure they stay as they were.
    pub fn change_libraries<T>(
        &self,
        change: impl FnOnce(&mut Libraries) -> Result<T, CmdError>,
    ) -> Result<T, CmdError> {
        let mut libraries = self.libraries.lock().unwrap_or_else(PoisonError::into_inner);
        let mut new = Libraries::clone(&libraries);
        let done = change(&mut new)?;
        *libraries = Arc::new(new);
        self.version.store(libraries.version(), Ordering::Release);
        Ok(done)
    }

    /// How many scripts there are, and the bytes of their texts.
    pub fn size(&self) -> (usize, usize) {
        let scripts = self.scripts();
        (scripts.bodies.len(), scripts.bodies.values().map(|body| body.len()).sum())
    }

    /// A panic elsewhere while it was locked leaves nothing half done that matters.
    fn scripts(&self) -> MutexGuard<'_, Scripts> {
        self.scripts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_that_pass_by_make_room_for_others() {
        let store = Store::default();
        let sha = |n: usize| Sha::of(&n.to_le_bytes());
        store.keep(sha(0), b"loaded", true);
        store.keep(sha(1), b"both", false);
        store.keep(sha(1), b"both", true);
        (2..PASSING_MAX + 4).for_each(|n| store.keep(sha(n), b"passing", false));
        assert_eq!(store.size().0, PASSING_MAX + 2);
        let known = |n| store.body(&sha(n)).is_some();
        assert!(known(0) && known(1) && !known(2) && !known(3) && known(4));
        let before = store.epoch();
        store.flush();
        assert!(!known(0) && store.size() == (0, 0) && store.epoch() > before);
    }
}
