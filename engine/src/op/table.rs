//! A hash table from encoded keys to small values. Keys of up to 15 bytes are in the table itself, longer ones in an arena.
//!
//! It remembers how a key is shown: the encoding of a plain key says it; for others the smallest representation is kept beside.

use hashbrown::HashTable;
use plan::Key;

use super::slots::Slots;
use crate::key::ColumnError;
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
/// How many groups' keys are fetched at once.
const AT_ONCE: usize = 16;

/// A key in the arena.
const LONG: u64 = 0xff;
/// A key in the arena, followed by four bytes: which of `shown` it is shown as.
const SHOWN: u64 = 0xfe;
/// Stands in those four bytes once the key is shown as its encoding says.
const PLAIN: u32 = u32::MAX;

/// What is looked up: an encoded key with its hash.
#[derive(Debug)]
pub(super) struct Probe {
    /// The key if it is short, else one that no entry has.
    inline: KeyRef,
    /// The encoded key if it is long.
    bytes: Vec<u8>,
    pub(super) hash: u64,
    /// Whether the encoded key says how the key is shown.
    pub(super) plain: bool,
}

impl Default for Probe {
    fn default() -> Probe {
        Probe { inline: KeyRef::short(0, 0, 0), bytes: Vec::new(), hash: key::hash(&[]), plain: true }
    }
}

impl Probe {
    /// Sets the key to what `encode` appends; it returns whether that is plain.
    #[inline]
    pub(super) fn set<E>(&mut self, encode: impl FnOnce(&mut Vec<u8>) -> Result<bool, E>) -> Result<(), E> {
        self.bytes.clear();
        self.plain = encode(&mut self.bytes)?;
        self.hash = key::hash(&self.bytes);
        self.inline = match key::words(&self.bytes) {
            Some((low, high)) => KeyRef::short(low, high, self.bytes.len()),
            None => KeyRef { head: (self.bytes.len() as u64) << 8 | LONG, tail: u64::MAX },
        };
        Ok(())
    }

    /// The encoded key, perhaps in `buffer`.
    fn key<'b>(&'b self, buffer: &'b mut [u8; 16]) -> &'b [u8] {
        if self.inline.is_inline() { self.inline.bytes(&[], buffer) } else { &self.bytes }
    }

    /// Sets the key to one value.
    #[inline]
    pub(super) fn set_one(&mut self, value: Val<'_>) {
        if let Some((low, high, len)) = key::encode_short(value) {
            self.plain = true;
            self.hash = key::hash_words(low, high, len);
            self.inline = KeyRef::short(low, high, len);
            return;
        }
        let set: Result<()> = self.set(|out| Ok(key::encode(value, out)));
        set.expect("encoding a value cannot fail");
    }

    /// Sets the key to a row's.
    #[inline]
    pub(super) fn set_key(&mut self, row: &[Val<'_>], key: &Key) -> Result<(), ColumnError> {
        match key {
            Key::Columns(columns) => self.set_columns(row, columns),
            Key::Row => self.set(|out| Ok(key::encode_row(row, out))),
        }
    }

    /// Sets the key to some columns of a row.
    #[inline]
    pub(super) fn set_columns(&mut self, row: &[Val<'_>], columns: &[u32]) -> Result<(), ColumnError> {
        if let [only] = columns {
            self.set_one(key::column(row, *only)?);
            return Ok(());
        }
        self.set(|out| key::encode_columns(row, columns, out))
    }

    /// Sets the key to these fields.
    pub(super) fn set_fields(&mut self, fields: &[Val<'_>]) {
        if let [only] = fields {
            return self.set_one(*only);
        }
        let encode = |out: &mut Vec<u8>| Ok(fields.iter().fold(true, |plain, field| key::encode(*field, out) & plain));
        let set: Result<()> = self.set(encode);
        set.expect("encoding values cannot fail");
    }
}

impl KeyRef {
    /// A key in the table, by its [`key::words`].
    #[inline]
    fn short(low: u64, high: u64, len: usize) -> KeyRef {
        KeyRef { head: low << 8 | len as u64, tail: high }
    }

    #[inline]
    fn is_inline(self) -> bool {
        self.head & 0xff <= INLINE as u64
    }

    /// Where a key lies in the arena.
    fn range(self) -> std::ops::Range<usize> {
        self.tail as usize..self.tail as usize + (self.head >> 8) as usize
    }

    fn words(self) -> (u64, u64) {
        (self.head >> 8 | self.tail << 56, self.tail)
    }

    #[inline]
    fn hash(self, keys: &[u8]) -> u64 {
        if !self.is_inline() {
            return key::hash(&keys[self.range()]);
        }
        let (low, high) = self.words();
        key::hash_words(low, high, (self.head & 0xff) as usize)
    }

    /// The encoded key, perhaps in `buffer`.
    fn bytes<'b>(self, keys: &'b [u8], buffer: &'b mut [u8; 16]) -> &'b [u8] {
        if !self.is_inline() {
            return &keys[self.range()];
        }
        let (low, high) = self.words();
        buffer[..8].copy_from_slice(&low.to_le_bytes());
        buffer[7..15].copy_from_slice(&high.to_le_bytes());
        &buffer[..(self.head & 0xff) as usize]
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

    /// Bytes held by keys outside the table.
    pub(super) fn key_bytes(&self) -> usize {
        self.keys.len() + self.shown.bytes()
    }

    /// Forgets all groups and gives the memory back.
    pub(super) fn reset(&mut self) {
        *self = KeyTable::new(self.pick);
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
        let keys = &self.keys;
        self.table.find(spread(probe.hash), |entry| matches(entry, probe, keys))
    }

    /// The value of a key's group, made by `new` if there was none, and whether there was one. `fields` appends the key's
    /// fields as an encoded row; it is asked only where the key is not plain.
    #[inline]
    pub(super) fn upsert(&mut self, probe: &Probe, fields: impl FnOnce(&mut Vec<u8>), new: impl FnOnce() -> V) -> (&mut V, bool) {
        let keys = &self.keys;
        let found = self.table.find_entry(spread(probe.hash), |entry| matches(entry, probe, keys));
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
                let key = keep(probe, fields, &mut self.keys, &mut self.shown);
                let keys = &self.keys;
                let entry = Entry { key, value: new() };
                let occupied = table.insert_unique(spread(probe.hash), entry, |entry| spread(entry.key.hash(keys)));
                (&mut occupied.into_mut().value, false)
            }
        }
    }

    /// All groups, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry<V>> {
        self.table.iter()
    }

    /// Calls `f` for all groups, in no order. Their keys lie all over the arena: those of some are fetched side by side, where one
    /// after the other would wait for the memory each time.
    pub(super) fn for_each(&self, mut f: impl FnMut(&Entry<V>) -> Result<()>) -> Result<()> {
        let (mut entries, mut some) = (self.table.iter(), Vec::with_capacity(AT_ONCE));
        loop {
            some.clear();
            some.extend(entries.by_ref().take(AT_ONCE));
            if some.is_empty() {
                return Ok(());
            }
            let outside = some.iter().filter(|entry| !entry.key.is_inline());
            let firsts = outside.map(|entry| self.keys.get(entry.key.tail as usize).copied().unwrap_or(0));
            std::hint::black_box(firsts.fold(0, |all, first| all ^ first));
            some.iter().try_for_each(|entry| f(entry))?;
        }
    }

    /// The hash of a group's key.
    pub(super) fn hash(&self, entry: &Entry<V>) -> u64 {
        entry.key.hash(&self.keys)
    }

    /// All groups in the order of their keys.
    pub(super) fn sorted(&self) -> Vec<&Entry<V>> {
        let mut keyed: Vec<(u64, &Entry<V>)> = self.iter().map(|entry| (self.prefix(entry), entry)).collect();
        keyed.sort_unstable_by(|(a, a_entry), (b, b_entry)| {
            a.cmp(b).then_with(|| self.bytes_of(a_entry, &mut [0; 16]).cmp(self.bytes_of(b_entry, &mut [0; 16])))
        });
        keyed.into_iter().map(|(_, entry)| entry).collect()
    }

    fn bytes_of<'b>(&'b self, entry: &Entry<V>, buffer: &'b mut [u8; 16]) -> &'b [u8] {
        entry.key.bytes(&self.keys, buffer)
    }

    fn prefix(&self, entry: &Entry<V>) -> u64 {
        if entry.key.is_inline() { entry.key.words().0.swap_bytes() } else { super::merge::prefix(&self.keys[entry.key.range()]) }
    }

    /// Hands the fields of a group's key to `f`, as they are shown.
    #[inline]
    pub(super) fn with_key<R>(
        &self,
        entry: &Entry<V>,
        scratch: &mut RowScratch,
        f: impl FnOnce(&[Val<'_>]) -> Result<R>,
    ) -> Result<R> {
        let mut buffer = [0; 16];
        let mut fields = scratch.take();
        match self.shown_as(entry.key) {
            Some(id) => codec::read_row(&mut self.shown.get(id), &mut fields)?,
            None => decode_fields(entry.key.bytes(&self.keys, &mut buffer), &mut fields),
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
fn matches<V>(entry: &Entry<V>, probe: &Probe, keys: &[u8]) -> bool {
    entry.key == probe.inline || (!entry.key.is_inline() && keys[entry.key.range()] == *probe.key(&mut [0; 16]))
}

fn shown_id(key: KeyRef, keys: &[u8]) -> u32 {
    u32::from_le_bytes(keys[key.range().end..][..4].try_into().expect("four bytes"))
}

/// Keeps a new key.
#[inline]
fn keep(probe: &Probe, fields: impl FnOnce(&mut Vec<u8>), keys: &mut Vec<u8>, shown: &mut Slots) -> KeyRef {
    if probe.plain && probe.inline.is_inline() {
        return probe.inline;
    }
    let tail = keys.len() as u64;
    keys.extend_from_slice(probe.key(&mut [0; 16]));
    let head = (keys.len() as u64 - tail) << 8;
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
