use super::entry::Entry;
use std::collections::HashMap;
#[derive(Default)]
pub struct Table { map: HashMap<Box<[u8]>, Entry, ahash::RandomState> }
impl Table {
    pub fn len(&self) -> usize { self.map.len() }
    pub fn get(&self, _h: u64, key: &[u8]) -> Option<&Entry> { self.map.get(key) }
    pub fn get_mut(&mut self, _h: u64, key: &[u8]) -> Option<&mut Entry> { self.map.get_mut(key) }
    pub fn insert(&mut self, _h: u64, e: Entry) { self.map.insert(e.key().into(), e); }
    pub fn remove(&mut self, _h: u64, key: &[u8]) -> Option<Entry> { self.map.remove(key) }
    pub fn prefetch_bucket(&self, _h: u64) {}
    pub fn prefetch_entry(&self, _h: u64) {}
}
