//! Files of Redis, read and written without a server of our own: real servers make them, and take ours.

pub mod foreign;
pub mod golden;
mod loaded;
mod tails;
mod writing;
