pub mod entry;
pub mod glob;
pub mod number;
pub mod table;
pub use entry::{Entry, ValueRef};
