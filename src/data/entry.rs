use super::number::parse_i64;
pub enum ValueRef<'a> { Int(i64), Bytes(&'a [u8]) }
enum V { Int(i64), Bytes(Vec<u8>) }
struct Inner { key: Box<[u8]>, v: V, ex: Option<i64>, raw: bool, access: u32 }
pub struct Entry(Box<Inner>);
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding { Int, Embstr, Raw }
impl Entry {
    pub fn string(key: &[u8], value: &[u8], expire_at: Option<i64>) -> Entry {
        let mut e = Entry(Box::new(Inner { key: key.into(), v: V::Int(0), ex: expire_at, raw: false, access: 0 }));
        e.set_string(value); e
    }
    pub fn key(&self) -> &[u8] { &self.0.key }
    pub fn value(&self) -> ValueRef<'_> { match &self.0.v { V::Int(i) => ValueRef::Int(*i), V::Bytes(b) => ValueRef::Bytes(b) } }
    pub fn expire_at(&self) -> Option<i64> { self.0.ex }
    pub fn set_expire(&mut self, at: Option<i64>) { self.0.ex = at; }
    pub fn set_string(&mut self, value: &[u8]) { self.0.raw = false; self.0.v = match parse_i64(value) { Some(i) => V::Int(i), None => V::Bytes(value.to_vec()) } }
    pub fn set_int(&mut self, v: i64) { self.0.v = V::Int(v); }
    pub fn encoding(&self) -> Encoding { match &self.0.v { V::Int(_) => Encoding::Int, V::Bytes(b) if b.len() <= 44 && !self.0.raw => Encoding::Embstr, _ => Encoding::Raw } }
    pub fn bytes_mut(&mut self) -> &mut Vec<u8> { self.0.raw = true;
        if let V::Int(i) = self.0.v { self.0.v = V::Bytes(i.to_string().into_bytes()); }
        match &mut self.0.v { V::Bytes(b) => b, V::Int(_) => unreachable!() } }
    pub fn access(&self) -> u32 { self.0.access }
    pub fn set_access(&mut self, a: u32) { self.0.access = a; }
    pub fn allocated(&self) -> usize { 0 }
}

impl Entry {
    pub fn bytes(key: &[u8], value: &[u8], expire_at: Option<i64>) -> Entry {
        let mut e = Entry::string(key, b"", expire_at);
        e.set_bytes(value);
        e
    }
    pub fn int(key: &[u8], value: i64, expire_at: Option<i64>) -> Entry {
        let mut e = Entry::string(key, b"", expire_at);
        e.set_int(value);
        e
    }
    pub fn set_bytes(&mut self, value: &[u8]) {
        self.0.raw = false;
        self.0.v = V::Bytes(value.to_vec());
    }
    pub fn grow(&mut self, len: usize) -> &mut [u8] {
        let bytes = self.bytes_mut();
        bytes.resize(len.max(bytes.len()), 0);
        bytes
    }
    pub fn append(&mut self, more: &[u8]) -> usize {
        self.bytes_mut().extend_from_slice(more);
        self.string_len()
    }
    pub fn string_len(&self) -> usize {
        match self.value() {
            ValueRef::Int(n) => n.to_string().len(),
            ValueRef::Bytes(b) => b.len(),
        }
    }
}
