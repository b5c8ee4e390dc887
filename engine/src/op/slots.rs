//! Byte strings in one arena, each replaced now and then by a longer or shorter one.

/// A growing number of byte strings, by number.
#[derive(Debug, Default)]
pub(super) struct Slots {
    bytes: Vec<u8>,
    slots: Vec<Slot>,
    /// Bytes that no slot uses any more.
    wasted: usize,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    at: usize,
    len: usize,
    room: usize,
}

/// So little waste is never worth a compaction.
const TOLERATED: usize = 64 << 10;

impl Slots {
    /// Adds a string; its number.
    pub(super) fn add(&mut self, string: &[u8]) -> u32 {
        let id = u32::try_from(self.slots.len()).expect("a table has fewer than 2^32 groups in memory");
        self.slots.push(Slot { at: self.bytes.len(), len: string.len(), room: string.len() });
        self.bytes.extend_from_slice(string);
        id
    }

    pub(super) fn get(&self, id: u32) -> &[u8] {
        let slot = self.slots[id as usize];
        &self.bytes[slot.at..slot.at + slot.len]
    }

    /// Replaces a string.
    pub(super) fn set(&mut self, id: u32, string: &[u8]) {
        let slot = &mut self.slots[id as usize];
        if string.len() > slot.room {
            // Half as much again, so that a string that grows step by step is not moved at every step.
            let old = std::mem::replace(&mut slot.room, string.len() + string.len() / 2);
            self.wasted += old;
            slot.at = self.bytes.len();
            self.bytes.resize(slot.at + slot.room, 0);
        }
        let slot = *slot;
        self.slots[id as usize].len = string.len();
        self.bytes[slot.at..slot.at + string.len()].copy_from_slice(string);
        if self.wasted > TOLERATED && self.wasted > self.bytes.len() / 2 {
            self.compact();
        }
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len() + self.slots.len() * size_of::<Slot>()
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.slots.clear();
        self.wasted = 0;
    }

    fn compact(&mut self) {
        let mut bytes = Vec::with_capacity(self.bytes.len() - self.wasted);
        for slot in &mut self.slots {
            let old = slot.at;
            slot.at = bytes.len();
            bytes.extend_from_slice(&self.bytes[old..old + slot.room]);
        }
        self.bytes = bytes;
        self.wasted = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_keep_their_bytes_while_others_grow_and_shrink() {
        let mut slots = Slots::default();
        let ids: Vec<u32> = (0..10).map(|i| slots.add(&[i])).collect();
        for len in (1..3000).chain([5, 0, 4000]) {
            for id in &ids {
                slots.set(*id, &vec![*id as u8; len]);
            }
            assert!(ids.iter().all(|id| slots.get(*id) == vec![*id as u8; len]));
        }
        assert!(slots.bytes() < 200_000, "{} bytes for 10 strings of 4000", slots.bytes());
    }
}
