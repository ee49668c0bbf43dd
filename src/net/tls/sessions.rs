//! Sessions that clients may take up again, for a time, and not more than so many.

use crate::clock;
use rustls::server::StoresServerSessions;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Shared by all shards; looked at in handshakes only.
pub struct Sessions {
    inner: Mutex<Inner>,
    /// 0 is no limit.
    max: usize,
    lifetime: Duration,
}

/// Every key of `held` stands in `order` as well, which may have keys of sessions taken up since.
#[derive(Default)]
struct Inner {
    held: HashMap<Vec<u8>, (Vec<u8>, Instant)>,
    /// Oldest first.
    order: VecDeque<(Vec<u8>, Instant)>,
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sessions(..)")
    }
}

impl Sessions {
    pub fn new(max: usize, seconds: u64) -> Sessions {
        Sessions { inner: Mutex::default(), max, lifetime: Duration::from_secs(seconds) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self, since: Instant, now: Instant) -> bool {
        now.saturating_duration_since(since) >= self.lifetime
    }

    fn put_at(&self, key: Vec<u8>, value: Vec<u8>, now: Instant) {
        let mut inner = self.inner();
        while let Some((_, since)) = inner.order.front()
            && (self.is_over(*since, now) || (self.max > 0 && inner.order.len() >= self.max))
        {
            let Some((oldest, since)) = inner.order.pop_front() else { break };
            // The same key may have been put again.
            if inner.held.get(&oldest).is_some_and(|(_, own)| *own == since) {
                inner.held.remove(&oldest);
            }
        }
        inner.order.push_back((key.clone(), now));
        inner.held.insert(key, (value, now));
    }

    fn get_at(&self, key: &[u8], now: Instant) -> Option<Vec<u8>> {
        let inner = self.inner();
        let (value, since) = inner.held.get(key)?;
        (!self.is_over(*since, now)).then(|| value.clone())
    }
}

impl StoresServerSessions for Sessions {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        self.put_at(key, value, clock::monotonic());
        true
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.get_at(key, clock::monotonic())
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        let found = self.get(key);
        self.inner().held.remove(key);
        found
    }

    fn can_cache(&self) -> bool {
        !self.lifetime.is_zero()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_few_and_do_not_last() {
        let (sessions, now) = (Sessions::new(2, 10), clock::monotonic());
        let at = |seconds| now + Duration::from_secs(seconds);
        for key in 0..3u8 {
            sessions.put_at(vec![key], vec![key, key], at(u64::from(key)));
        }
        assert_eq!(sessions.get_at(&[0], at(3)), None);
        assert_eq!(sessions.get_at(&[1], at(3)), Some(vec![1, 1]));
        assert_eq!(sessions.get_at(&[1], at(11)), None);
        assert_eq!(sessions.get_at(&[2], at(11)), Some(vec![2, 2]));
        sessions.put_at(vec![3], Vec::new(), at(30));
        let inner = sessions.inner();
        assert_eq!((inner.held.len(), inner.order.len()), (1, 1));
    }

    #[test]
    fn a_session_is_taken_once() {
        let sessions = Sessions::new(0, 10);
        assert!(sessions.can_cache() && sessions.put(vec![1], vec![2]));
        assert_eq!(sessions.take(&[1]), Some(vec![2]));
        assert_eq!(sessions.take(&[1]), None);
        assert!(!Sessions::new(5, 0).can_cache());
    }
}
