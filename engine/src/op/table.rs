//! A hash table from encoded keys to small values. Keys of up to 15 bytes are in the table itself, longer ones in an arena.
//!
//! It remembers how a key is shown: the encoding of a plain key says it; for others the smallest representation is kept beside.

use std::borrow::Cow;

use hashbrown::HashTable;

use super::slots::Slots;
use crate::{Result, RowScratch, Val, codec, key};

/// Groups by key.
#[derive(Debug)]
pub(super) struct KeyTable<V> {
    table: HashTable<Entry<V>>,
    keys: Vec<u8>,
    /// How keys that are not plain are shown: encoded rows of the key's fields.
    shown: Slots,
    pick: Pick,
}

/// Which of several representations of a key is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pick {
    /// The smallest of each field.
    Fields,
    /// The smallest row, as it was.
    Row,
}

/// A group.
#[derive(Debug)]
pub(super) struct Entry<V> {
    pub(super) hash: u64,
    key: KeyRef,
    pub(super) value: V,
}

/// A key: the low byte of `head` is its length, then up to 15 bytes follow; or it is [`LONG`] or [`SHOWN`], then the other
/// bytes of `head` are its length, and `tail` says where it begins in the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct KeyRef {
    head: u64,
    tail: u64,
}

const INLINE: usize = 15;
/// A key in the arena.
const LONG: u64 = 0xff;
/// A key in the arena, followed by four bytes: which of `shown` it is shown as.
const SHOWN: u64 = 0xfe;
/// Stands in those four bytes once the key is shown as its encoding says.
const PLAIN: u32 = u32::MAX;

/// What is looked up: an encoded key with its hash.
#[derive(Debug, Default)]
pub(super) struct Probe {
    /// The encoded key; behind it, zeros.
    bytes: Vec<u8>,
    len: usize,
    pub(super) hash: u64,
    /// Whether the encoded key says how the key is shown.
    pub(super) plain: bool,
}

impl Probe {
    /// Sets the key to what `encode` appends; it returns whether that is plain.
    #[inline]
    pub(super) fn set<E>(&mut self, encode: impl FnOnce(&mut Vec<u8>) -> Result<bool, E>) -> Result<(), E> {
        self.bytes.clear();
        self.plain = encode(&mut self.bytes)?;
        self.len = self.bytes.len();
        self.hash = key::hash(&self.bytes);
        self.bytes.extend_from_slice(&[0; 16]);
        Ok(())
    }

    pub(super) fn key(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// The key as an inline one; matches no entry if it is too long for that.
    #[inline]
    fn inline(&self) -> KeyRef {
        if self.len > INLINE {
            return KeyRef { head: LONG, tail: u64::MAX };
        }
        let word = |at: usize| u64::from_le_bytes(self.bytes[at..at + 8].try_into().expect("eight bytes"));
        KeyRef { head: word(0) << 8 | self.len as u64, tail: word(7) }
    }
}

impl KeyRef {
    fn is_inline(self) -> bool {
        self.head & 0xff <= INLINE as u64
    }

    fn range(self) -> std::ops::Range<usize> {
        self.tail as usize..self.tail as usize + (self.head >> 8) as usize
    }

    fn bytes(self, keys: &[u8]) -> Cow<'_, [u8]> {
        if !self.is_inline() {
            return Cow::Borrowed(&keys[self.range()]);
        }
        Cow::Owned(self.inlined()[..(self.head & 0xff) as usize].to_vec())
    }

    fn inlined(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&(self.head >> 8).to_le_bytes());
        bytes[7..15].copy_from_slice(&self.tail.to_le_bytes());
        bytes
    }
}

/// The bits of a hash that the table uses are others than those that partitions are made of.
#[inline]
fn spread(hash: u64) -> u64 {
    hash.rotate_left(26)
}

impl<V> KeyTable<V> {
    pub(super) fn new(pick: Pick) -> KeyTable<V> {
        KeyTable { table: HashTable::new(), keys: Vec::new(), shown: Slots::default(), pick }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Bytes held, and those that the next key will need.
    pub(super) fn bytes(&self) -> usize {
        let growth = if self.table.len() == self.table.capacity() { 3 } else { 1 };
        self.table.allocation_size() * growth + self.keys.len() + self.shown.bytes()
    }

    /// Forgets all groups; keeps the allocations.
    pub(super) fn clear(&mut self) {
        self.table.clear();
        self.keys.clear();
        self.shown.clear();
    }

    /// The group of a key.
    #[inline]
    pub(super) fn find(&self, probe: &Probe) -> Option<&Entry<V>> {
        let (wanted, keys) = (probe.inline(), &self.keys);
        self.table.find(spread(probe.hash), |entry| matches(entry, wanted, probe, keys))
    }

    /// The value of a key's group, made by `new` if there was none, and whether there was one. `fields` appends the key's
    /// fields as an encoded row; it is asked only where the key is not plain.
    #[inline]
    pub(super) fn upsert(&mut self, probe: &Probe, fields: impl FnOnce(&mut Vec<u8>), new: impl FnOnce() -> V) -> (&mut V, bool) {
        let (wanted, keys) = (probe.inline(), &self.keys);
        let found = self.table.find_entry(spread(probe.hash), |entry| matches(entry, wanted, probe, keys));
        match found {
            Ok(occupied) => {
                let entry = occupied.into_mut();
                if entry.key.head & 0xff == SHOWN {
                    show(entry.key, (probe, self.pick), fields, &mut self.keys, &mut self.shown);
                }
                (&mut entry.value, true)
            }
            Err(absent) => {
                let table = absent.into_table();
                let key = keep(wanted, probe, fields, &mut self.keys, &mut self.shown);
                let entry = Entry { hash: probe.hash, key, value: new() };
                let occupied = table.insert_unique(spread(probe.hash), entry, |entry| spread(entry.hash));
                (&mut occupied.into_mut().value, false)
            }
        }
    }

    /// All groups, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry<V>> {
        self.table.iter()
    }

    /// All groups in the order of their keys.
    pub(super) fn sorted(&self) -> Vec<&Entry<V>> {
        let mut keyed: Vec<(u64, &Entry<V>)> = self.iter().map(|entry| (self.prefix(entry), entry)).collect();
        keyed.sort_unstable_by(|(a, a_entry), (b, b_entry)| {
            a.cmp(b).then_with(|| a_entry.key.bytes(&self.keys).cmp(&b_entry.key.bytes(&self.keys)))
        });
        keyed.into_iter().map(|(_, entry)| entry).collect()
    }

    fn prefix(&self, entry: &Entry<V>) -> u64 {
        super::merge::prefix(&entry.key.bytes(&self.keys))
    }

    /// Hands the fields of a group's key to `f`, as they are shown.
    #[inline]
    pub(super) fn with_key<R>(
        &self,
        entry: &Entry<V>,
        scratch: &mut RowScratch,
        f: impl FnOnce(&[Val<'_>]) -> Result<R>,
    ) -> Result<R> {
        let inlined = entry.key.inlined();
        let mut fields = scratch.take();
        if let Some(id) = self.shown_as(entry.key) {
            codec::read_row(&mut self.shown.get(id), &mut fields)?;
        } else {
            let key =
                if entry.key.is_inline() { &inlined[..(entry.key.head & 0xff) as usize] } else { &self.keys[entry.key.range()] };
            decode_fields(key, &mut fields);
        }
        let result = f(&fields)?;
        scratch.give(fields);
        Ok(result)
    }

    fn shown_as(&self, key: KeyRef) -> Option<u32> {
        (key.head & 0xff == SHOWN).then(|| shown_id(key, &self.keys)).filter(|id| *id != PLAIN)
    }
}

/// The fields of a plain key: those of columns fill it, those of a whole row end with a zero, which is no value's tag.
fn decode_fields<'a>(mut key: &'a [u8], fields: &mut Vec<Val<'a>>) {
    while key.first().is_some_and(|tag| *tag != 0) {
        fields.push(key::decode_plain(&mut key));
    }
}

#[inline]
fn matches<V>(entry: &Entry<V>, wanted: KeyRef, probe: &Probe, keys: &[u8]) -> bool {
    entry.hash == probe.hash && (entry.key == wanted || (!entry.key.is_inline() && keys[entry.key.range()] == *probe.key()))
}

fn shown_id(key: KeyRef, keys: &[u8]) -> u32 {
    u32::from_le_bytes(keys[key.range().end..][..4].try_into().expect("four bytes"))
}

/// Keeps a new key.
#[inline]
fn keep(inline: KeyRef, probe: &Probe, fields: impl FnOnce(&mut Vec<u8>), keys: &mut Vec<u8>, shown: &mut Slots) -> KeyRef {
    if probe.plain && probe.len <= INLINE {
        return inline;
    }
    let tail = keys.len() as u64;
    keys.extend_from_slice(probe.key());
    let head = (probe.len as u64) << 8;
    if probe.plain {
        return KeyRef { head: head | LONG, tail };
    }
    let mut row = Vec::new();
    fields(&mut row);
    keys.extend_from_slice(&shown.add(&row).to_le_bytes());
    KeyRef { head: head | SHOWN, tail }
}

/// A key has come again, perhaps in a smaller representation than the one kept.
#[cold]
fn show(key: KeyRef, (probe, pick): (&Probe, Pick), fields: impl FnOnce(&mut Vec<u8>), keys: &mut [u8], shown: &mut Slots) {
    let id = shown_id(key, keys);
    if id == PLAIN {
        return;
    }
    if probe.plain {
        keys[key.range().end..][..4].copy_from_slice(&PLAIN.to_le_bytes());
        return;
    }
    let mut row = Vec::new();
    fields(&mut row);
    if let Some(smaller) = pick.smaller(shown.get(id), &row) {
        shown.set(id, &smaller);
    }
}

impl Pick {
    /// What is to be shown instead of `kept` now that `new`, an equal row, has come; both encoded.
    pub(super) fn smaller(self, kept: &[u8], new: &[u8]) -> Option<Vec<u8>> {
        if kept == new {
            return None;
        }
        let (kept, new) = (decode(kept), decode(new));
        let mut picked = Vec::new();
        match self {
            Pick::Row if key::compare_rows_exact(&new, &kept).is_lt() => codec::write_row(&mut picked, &new),
            Pick::Row => return None,
            Pick::Fields => {
                let smallest = |(a, b): (&Val<'_>, &Val<'_>)| key::compare_exact(*b, *a).is_lt();
                codec::write_array_header(&mut picked, kept.len());
                for pair in kept.iter().zip(&new) {
                    codec::write_val(&mut picked, if smallest(pair) { *pair.1 } else { *pair.0 });
                }
            }
        }
        Some(picked)
    }
}

fn decode(mut encoded: &[u8]) -> Vec<Val<'_>> {
    let mut row = Vec::new();
    codec::read_row(&mut encoded, &mut row).expect("the row was written by this operator");
    row
}
