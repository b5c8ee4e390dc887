//! Bit masks over 64 bytes: AVX2 where the processor has it, SSE2 where it is always there, plain arithmetic elsewhere.
#![allow(unsafe_code, reason = "which instructions a processor has is found out at run time, and not known to the compiler")]

use super::Index;

pub(super) type Block = [u8; 64];

/// Indexes whole blocks of a buffer up to a place, with the best instructions that there are.
pub(super) fn index_blocks(index: &mut Index, buffer: &[u8], ready: usize) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("bmi1") && is_x86_feature_detected!("popcnt") {
        // SAFETY: the processor has all that the function uses; it has no other precondition.
        return unsafe { index_blocks_widely(index, buffer, ready) };
    }
    index.blocks(buffer, ready, matches);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,popcnt")]
fn index_blocks_widely(index: &mut Index, buffer: &[u8], ready: usize) {
    index.blocks(buffer, ready, |block, byte| avx2_matches(block, byte));
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx2")]
fn avx2_matches(block: &Block, byte: u8) -> u64 {
    use std::arch::x86_64::{_mm256_cmpeq_epi8, _mm256_loadu_si256, _mm256_movemask_epi8, _mm256_set1_epi8};

    let wanted = _mm256_set1_epi8(byte as i8);
    let half = |at: usize| {
        // SAFETY: 32 bytes of a block of 64 begin at 0 and at 32; they need not be aligned.
        let lane = unsafe { _mm256_loadu_si256(block[at..at + 32].as_ptr().cast()) };
        u64::from(_mm256_movemask_epi8(_mm256_cmpeq_epi8(lane, wanted)) as u32)
    };
    half(0) | half(32) << 32
}

/// One bit per byte of the block that equals `byte`.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(super) fn matches(block: &Block, byte: u8) -> u64 {
    // SAFETY: SSE2 belongs to the x86_64 baseline; the function has no other precondition.
    unsafe { sse2_matches(block, byte) }
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "sse2")]
fn sse2_matches(block: &Block, byte: u8) -> u64 {
    use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_movemask_epi8, _mm_set_epi64x, _mm_set1_epi8};

    let wanted = _mm_set1_epi8(byte as i8);
    let mut mask = 0;
    for (at, lane) in block.chunks_exact(16).enumerate() {
        let half = |from: usize| i64::from_le_bytes(lane[from..from + 8].try_into().expect("a lane has 16 bytes"));
        let equal = _mm_cmpeq_epi8(_mm_set_epi64x(half(8), half(0)), wanted);
        mask |= u64::from(_mm_movemask_epi8(equal) as u16) << (16 * at);
    }
    mask
}

/// One bit per byte of the block that equals `byte`.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
pub(super) fn matches(block: &Block, byte: u8) -> u64 {
    plain_matches(block, byte)
}

#[cfg(any(test, not(target_arch = "x86_64")))]
fn plain_matches(block: &Block, byte: u8) -> u64 {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    /// Collects the top bits of eight bytes, of which only those may be set, in the top byte of the product.
    const GATHER: u64 = 0x0002_0408_1020_4081;
    let mut mask = 0;
    for (at, lane) in block.chunks_exact(8).enumerate() {
        let word = u64::from_le_bytes(lane.try_into().expect("a lane has 8 bytes")) ^ (u64::from(byte) * 0x0101_0101_0101_0101);
        let zeros = !(((word & LOW) + LOW) | word | LOW);
        mask |= (zeros.wrapping_mul(GATHER) >> 56) << (8 * at);
    }
    mask
}

/// Bit `i` of the result is the parity of bits 0 to `i`.
#[inline]
pub(super) fn running_parity(mut bits: u64) -> u64 {
    for shift in [1, 2, 4, 8, 16, 32] {
        bits ^= bits << shift;
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_ways_to_match_agree_with_the_definition() {
        let block: Block = std::array::from_fn(|at| [0, 1, b',', 0x7f, 0x80, 0x81, 0xff, b'\n'][(at * 7 + at / 9) % 8]);
        for byte in 0..=255 {
            let expected = (0..64).filter(|&at| block[at] == byte).fold(0, |mask, at| mask | 1 << at);
            assert_eq!(matches(&block, byte), expected, "{byte}");
            assert_eq!(plain_matches(&block, byte), expected, "{byte}");
            #[cfg(target_arch = "x86_64")]
            if is_x86_feature_detected!("avx2") {
                // SAFETY: the processor has AVX2.
                assert_eq!(unsafe { avx2_matches(&block, byte) }, expected, "{byte}");
            }
        }
    }

    #[test]
    fn running_parity_counts_bits_from_below() {
        assert_eq!(running_parity(0b0010_0100), 0b0001_1100);
        assert_eq!(running_parity(1), u64::MAX);
    }
}
