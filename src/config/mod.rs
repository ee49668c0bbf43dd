//! The configuration (interim: values only, no option table yet).

mod values;
use std::ops::{Deref, DerefMut};
pub use values::*;

#[derive(Debug, Clone, Default)]
pub struct Config {
    values: Values,
}

impl Deref for Config {
    type Target = Values;

    fn deref(&self) -> &Values {
        &self.values
    }
}

impl DerefMut for Config {
    fn deref_mut(&mut self) -> &mut Values {
        &mut self.values
    }
}
