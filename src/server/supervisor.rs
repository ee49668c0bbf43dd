//! Tells the service manager how the server does (`sd_notify(3)`).

use crate::config::Supervised;
use sd_notify::NotifyState;

/// What the service manager knows already.
pub struct Supervisor {
    is_there: bool,
    is_ready: bool,
}

impl Supervisor {
    /// Nothing is told unless the manager has asked for it by NOTIFY_SOCKET.
    pub fn new(supervised: Supervised) -> Supervisor {
        let is_there = matches!(supervised, Supervised::Systemd | Supervised::Auto);
        Supervisor { is_there, is_ready: false }
    }

    /// To be called now and then: all is ready once nothing is loading.
    pub fn look(&mut self, is_loading: bool) {
        if !self.is_ready && !is_loading {
            self.is_ready = true;
            self.tell(&[NotifyState::Ready, NotifyState::Status("Ready to accept connections")]);
        }
    }

    pub fn stopping(&self) {
        self.tell(&[NotifyState::Stopping, NotifyState::Status("Stopping")]);
    }

    fn tell(&self, states: &[NotifyState]) {
        if self.is_there
            && let Err(error) = sd_notify::notify(states)
        {
            tracing::warn!(%error, "the service manager cannot be told how the server does");
        }
    }
}
