//! Where a driver keeps its connections: by number, each number with a generation.

use super::Token;

/// The bits of a generation that fit beside kind and index in the 64 bits of an event.
pub(super) const GENERATION_MASK: u32 = 0x00ff_ffff;

/// Connections by [`Token`]. A token of one that has gone finds nothing, also when its number is taken
/// again.
pub(super) struct Slots<S> {
    slots: Vec<Slot<S>>,
    free: Vec<u32>,
}

struct Slot<S> {
    generation: u32,
    held: Option<S>,
}

impl<S> Slots<S> {
    pub fn new() -> Slots<S> {
        Slots { slots: Vec::new(), free: Vec::new() }
    }

    pub fn insert(&mut self, held: S) -> Token {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, held: None });
            self.slots.len() as u32 - 1
        });
        let slot = &mut self.slots[index as usize];
        slot.generation = (slot.generation + 1) & GENERATION_MASK;
        slot.held = Some(held);
        Token { index, generation: slot.generation }
    }

    pub fn get(&self, token: Token) -> Option<&S> {
        let slot = self.slots.get(token.index as usize)?;
        slot.held.as_ref().filter(|_| slot.generation == token.generation)
    }

    pub fn get_mut(&mut self, token: Token) -> Option<&mut S> {
        let slot = self.slots.get_mut(token.index as usize)?;
        slot.held.as_mut().filter(|_| slot.generation == token.generation)
    }

    pub fn remove(&mut self, token: Token) -> Option<S> {
        let slot = self.slots.get_mut(token.index as usize)?;
        let held = if slot.generation == token.generation { slot.held.take() } else { None };
        self.free.extend(held.is_some().then_some(token.index));
        held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_token_finds_nothing() {
        let mut slots = Slots::new();
        let old = slots.insert('a');
        assert_eq!(slots.remove(old), Some('a'));
        let new = slots.insert('b');
        assert_eq!(new.index, old.index);
        assert_eq!(slots.remove(old), None);
        assert_eq!((slots.get(old), slots.get(new)), (None, Some(&'b')));
        assert_ne!(slots.insert('c').index, new.index);
    }
}
