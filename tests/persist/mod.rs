//! Files of Redis, read and written without a server of our own: real servers make them, and take ours.

mod export;
pub mod foreign;
pub mod golden;
pub mod loaded;
mod looked_through;
mod tails;
mod versions;
mod writing;
