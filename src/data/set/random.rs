//! Members by chance: every member, and every choice of so many members, is equally likely.

use super::{Element, Form, Limits, Set};
use crate::data::packed::Packed;
use std::collections::HashSet;

/// A choice of more than one in so many is made by leaving out the others.
const CHOOSE_MAX: usize = 3;
/// When fewer than one in so many stay, these are chosen instead of those that go.
const STAY_MIN: usize = 5;

impl Set {
    /// Any member.
    pub fn random(&self, random: &mut fastrand::Rng) -> Option<Element<'_>> {
        if self.is_empty() {
            return None;
        }
        match &self.0 {
            Form::Ints(ints) => Some(Element::Int(ints.at(random.usize(0..ints.len())))),
            Form::Packed(packed) => {
                packed.seek(random.usize(0..packed.len())).map(|place| packed.get(place))
            }
            Form::Members(members) => members.random(random).map(Element::Bytes),
        }
    }

    /// Shows `count` times any member, the same ones again perhaps.
    pub fn draw(&self, count: usize, random: &mut fastrand::Rng, each: &mut dyn FnMut(Element)) {
        if let Form::Packed(packed) = &self.0
            && count > 1
        {
            let all: Vec<Element> = packed.iter().collect();
            return (0..count).for_each(|_| each(all[random.usize(0..all.len())]));
        }
        (0..count).filter_map(|_| self.random(random)).for_each(each);
    }

    /// Any `count` members, each once; all of them if there are no more than that.
    pub fn sample(&self, count: usize, random: &mut fastrand::Rng) -> Vec<Element<'_>> {
        let len = self.len();
        if count >= len {
            return self.iter().collect();
        }
        if matches!(self.0, Form::Members(_)) && count <= len / CHOOSE_MAX {
            let (mut chosen, mut seen) = (Vec::new(), HashSet::new());
            while chosen.len() < count {
                let Some(Element::Bytes(member)) = self.random(random) else { break };
                if seen.insert(member) {
                    chosen.push(Element::Bytes(member));
                }
            }
            return chosen;
        }
        let mut chosen = chosen_indexes(len, count, random).into_iter().peekable();
        let members = self.iter().enumerate();
        members.filter(|(index, _)| chosen.next_if_eq(index).is_some()).map(|(_, m)| m).collect()
    }

    /// Takes out any member.
    pub fn pop(&mut self, random: &mut fastrand::Rng) -> Option<Vec<u8>> {
        let member = self.random(random)?.to_vec();
        self.remove(&member);
        Some(member)
    }

    /// Takes out any `count` members, of which there must be more, and shows each of them.
    pub fn pop_many(
        &mut self,
        count: usize,
        limits: &Limits,
        random: &mut fastrand::Rng,
        each: &mut dyn FnMut(Element),
    ) {
        let len = self.len();
        match &mut self.0 {
            Form::Ints(ints) => {
                let mut gone = chosen_indexes(len, count, random).into_iter().peekable();
                gone.clone().for_each(|index| each(Element::Int(ints.at(index))));
                ints.retain(|index| gone.next_if_eq(&index).is_none());
            }
            Form::Packed(packed) => {
                let mut gone = chosen_indexes(len, count, random).into_iter().peekable();
                let mut index = 0;
                packed.retain(|member| {
                    let goes = gone.next_if_eq(&index).is_some();
                    index += 1;
                    if goes {
                        each(member);
                    }
                    !goes
                });
            }
            Form::Members(_) if (len - count) * STAY_MIN > count => {
                for _ in 0..count {
                    if let Some(member) = self.pop(random) {
                        each(Element::Bytes(&member));
                    }
                }
            }
            Form::Members(_) => self.keep_some(len - count, limits, random, each),
        }
    }

    /// As [`Set::pop_many`] of a big set, when fewer stay than go: those that stay become a set of
    /// their own.
    fn keep_some(
        &mut self,
        staying: usize,
        limits: &Limits,
        random: &mut fastrand::Rng,
        each: &mut dyn FnMut(Element),
    ) {
        let mut rest = Set(Form::Packed(Packed::new()));
        for _ in 0..staying {
            if let Some(member) = self.pop(random) {
                rest.add(&member, limits);
            }
        }
        let gone = std::mem::replace(self, rest);
        gone.iter().for_each(each);
    }
}

/// Any `count` of the indexes below `len`, in ascending order.
fn chosen_indexes(len: usize, count: usize, random: &mut fastrand::Rng) -> Vec<usize> {
    // Floyd's algorithm (Bentley and Floyd, 1987): one draw for each.
    let mut chosen = HashSet::with_capacity(count);
    for last in len - count..len {
        let index = random.usize(0..=last);
        chosen.insert(if chosen.contains(&index) { last } else { index });
    }
    let mut chosen: Vec<usize> = chosen.into_iter().collect();
    chosen.sort_unstable();
    chosen
}
