pub mod entry;
pub mod glob;
pub mod number;
pub mod table;
