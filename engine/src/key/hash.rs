//! A hash of encoded keys: the same on every machine and in every process of one version, since partitions depend on it.

const SEEDS: [u64; 3] = [0x9e37_79b9_7f4a_7c15, 0xd6e8_feb8_6659_fd93, 0xa076_1d64_78bd_642f];

/// The hash of an encoded key; all its bits are well mixed. Not meant to withstand an adversary.
#[inline]
#[must_use]
pub fn hash(bytes: &[u8]) -> u64 {
    match words(bytes) {
        Some((low, high)) => hash_words(low, high, bytes.len()),
        None => fold(long(bytes) ^ bytes.len() as u64, SEEDS[2]),
    }
}

/// The hash of up to 15 bytes that are known as their [`words`].
#[inline]
pub(crate) fn hash_words(low: u64, high: u64, len: usize) -> u64 {
    fold(fold(low ^ SEEDS[0], high ^ SEEDS[1]) ^ len as u64, SEEDS[2])
}

/// Up to 15 bytes as two numbers, zeros behind them: bytes 0 to 7, and 7 to 14.
#[inline]
pub(crate) fn words(bytes: &[u8]) -> Option<(u64, u64)> {
    let len = bytes.len();
    Some(match len {
        16.. => return None,
        8.. => (word(bytes, 0), word(bytes, len - 8) >> (8 * (15 - len))),
        4.. => (half(bytes, 0) | half(bytes, len - 4) << (8 * (len - 4)), 0),
        1.. => {
            let at = |at: usize| u64::from(bytes[at]) << (8 * at);
            (at(0) | at(len / 2) | at(len - 1), 0)
        }
        0 => (0, 0),
    })
}

fn long(bytes: &[u8]) -> u64 {
    let (mut state, mut at) = (SEEDS[0], 0);
    while at + 16 < bytes.len() {
        state = fold(word(bytes, at) ^ state, word(bytes, at + 8) ^ SEEDS[1]);
        at += 16;
    }
    // The last 16 bytes, some of them perhaps for the second time.
    fold(word(bytes, bytes.len() - 16) ^ state, word(bytes, bytes.len() - 8) ^ SEEDS[1])
}

#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[inline]
fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("a slice of eight bytes"))
}

#[inline]
fn half(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32::from_le_bytes(bytes[at..at + 4].try_into().expect("a slice of four bytes")))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn hashes_do_not_change_between_builds() {
        assert_eq!(hash(b""), 0x4b24_d35c_ba4a_63b0);
        assert_eq!(hash(b"gleam"), 0x579b_a223_63c5_52d2);
        assert_eq!(hash(b"a key of more than sixteen bytes"), 0x18bf_a356_f104_fc48);
    }

    #[test]
    fn few_keys_share_a_hash_or_a_part_of_it() {
        let (mut whole, mut low, mut high) = (HashSet::new(), [0_u32; 256], [0_u32; 256]);
        for i in 0..100_000_u32 {
            for hash in [hash(&i.to_be_bytes()), hash(format!("a longer key, number {i}").as_bytes())] {
                whole.insert(hash);
                low[(hash & 255) as usize] += 1;
                high[(hash >> 56) as usize] += 1;
            }
        }
        assert_eq!(whole.len(), 200_000);
        for count in low.iter().chain(&high) {
            assert!((600..=970).contains(count), "{count} of 200000 keys in one of 256 buckets");
        }
    }
}
