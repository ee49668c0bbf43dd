//! The driver of a shard, over what the host allows.

use super::bell::Bells;
use super::listen::Listener;
use super::{Handler, Runtime, epoll, uring};
use crate::error::Fatal;

/// What a shard's thread runs and sleeps in.
// One per shard: the size matters to nobody.
#[allow(clippy::large_enum_variant)]
pub enum Driver {
    IoUring(uring::Driver),
    Epoll(epoll::Driver),
}

impl Driver {
    /// Must be called on the thread that will run it.
    pub fn new(
        runtime: Runtime,
        shard: usize,
        bells: Bells,
        listeners: Vec<Listener>,
    ) -> Result<Driver, Fatal> {
        Ok(match runtime {
            Runtime::Epoll => Driver::Epoll(epoll::Driver::new(shard, bells, listeners)?),
            Runtime::IoUring => Driver::IoUring(uring::Driver::new(shard, bells, listeners)?),
        })
    }

    /// Serves until the handler has stopped. Never yields to other tasks: there are none.
    pub async fn run(self, handler: &mut impl Handler) -> Result<(), Fatal> {
        match self {
            Driver::IoUring(driver) => driver.run(handler),
            Driver::Epoll(driver) => driver.run(handler),
        }
    }
}
