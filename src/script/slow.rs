//! Scripts that have run for longer than `busy-reply-threshold`: who kills them asks here.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A script that runs for long.
#[derive(Debug, Clone)]
pub struct Slow {
    /// The shard on whose thread it runs.
    pub shard: usize,
    /// The function's name; scripts of EVAL have none.
    pub function: Option<Vec<u8>>,
    /// The request that runs it.
    pub command: Vec<Vec<u8>>,
    /// Milliseconds.
    pub running_for: u64,
    /// It has changed something, so it can't be ended in the middle.
    pub wrote: bool,
    /// It is to end.
    pub killed: bool,
}

/// What came of a wish to end a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Killed {
    Yes,
    /// No script has run for long.
    NoneRuns,
    /// The one that runs is of the other kind.
    OtherKind,
    /// It has written.
    Unkillable,
}

/// The slow scripts of all shards. Locked by those scripts and by who looks for them.
#[derive(Debug, Default)]
pub struct SlowScripts(Mutex<Vec<Slow>>);

impl SlowScripts {
    /// Says that a script goes on; answers whether it is to end.
    pub fn report(&self, slow: Slow) -> bool {
        let mut all = self.all();
        match all.iter_mut().find(|own| own.shard == slow.shard) {
            Some(own) => {
                let killed = own.killed;
                *own = Slow { killed, ..slow };
                killed
            }
            None => {
                all.push(slow);
                false
            }
        }
    }

    /// The script of this shard has ended.
    pub fn ended(&self, shard: usize) {
        self.all().retain(|slow| slow.shard != shard);
    }

    /// Ends all scripts, or all functions, that have not written.
    pub fn kill(&self, functions: bool) -> Killed {
        let mut all = self.all();
        let mut result = match all.is_empty() {
            true => Killed::NoneRuns,
            false => Killed::OtherKind,
        };
        for slow in all.iter_mut().filter(|slow| slow.function.is_some() == functions) {
            slow.killed |= !slow.wrote;
            match slow.killed {
                true => result = Killed::Yes,
                false if result != Killed::Yes => result = Killed::Unkillable,
                false => {}
            }
        }
        result
    }

    /// The scripts that run now.
    pub fn list(&self) -> Vec<Slow> {
        self.all().clone()
    }

    fn all(&self) -> MutexGuard<'_, Vec<Slow>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_scripts_that_have_not_written_are_ended() {
        let slow = |shard, function: bool, wrote| Slow {
            shard,
            function: function.then(|| b"f".to_vec()),
            command: Vec::new(),
            running_for: 6000,
            wrote,
            killed: false,
        };
        let scripts = SlowScripts::default();
        assert_eq!(scripts.kill(false), Killed::NoneRuns);
        assert!(!scripts.report(slow(1, true, false)));
        assert_eq!(scripts.kill(false), Killed::OtherKind);
        assert!(!scripts.report(slow(1, true, true)));
        assert_eq!(scripts.kill(true), Killed::Unkillable);
        assert!(!scripts.report(slow(0, true, false)));
        assert_eq!(scripts.kill(true), Killed::Yes);
        assert!(scripts.report(slow(0, true, false)) && !scripts.report(slow(1, true, true)));
        scripts.ended(1);
        assert_eq!(scripts.list().len(), 1);
    }
}
