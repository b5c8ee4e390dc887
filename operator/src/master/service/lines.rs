//! Frames of standard output: text of whole lines, compressed. Never trusts a length.

/// The longest text that a frame may hold: a batch is 128 KiB, or one line.
pub(super) const LONGEST: usize = 64 << 20;
/// LZ4 cannot do better: a length beyond this is a lie.
const BEST_RATIO: usize = 255;
/// Room for the last literals of a tiny block.
const SLACK: usize = 64;

/// A frame that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame of standard output is damaged")]
pub(super) struct BadFrame;

/// The text of a frame: `rows: u32, length: u32` (little endian), then an LZ4 block.
pub(super) fn text(frame: &[u8]) -> Result<Vec<u8>, BadFrame> {
    let (header, block) = frame.split_at_checked(8).ok_or(BadFrame)?;
    let length = u32::from_le_bytes(header[4..].try_into().map_err(|_| BadFrame)?) as usize;
    if length > LONGEST || length > block.len().saturating_mul(BEST_RATIO).saturating_add(SLACK) {
        return Err(BadFrame);
    }
    let text = lz4_flex::block::decompress(block, length).map_err(|_| BadFrame)?;
    if text.len() == length { Ok(text) } else { Err(BadFrame) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(text: &[u8]) -> Vec<u8> {
        let mut frame = 1_u32.to_le_bytes().to_vec();
        frame.extend((text.len() as u32).to_le_bytes());
        frame.extend(lz4_flex::block::compress(text));
        frame
    }

    #[test]
    fn text_comes_back_and_damage_is_seen() {
        let lines = b"a\nb\n".repeat(100);
        let good = frame(&lines);
        assert_eq!(text(&good), Ok(lines));
        assert_eq!(text(&good[..7]), Err(BadFrame));
        assert_eq!(text(&good[..good.len() - 1]), Err(BadFrame));
        let mut long = good.clone();
        long[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(text(&long), Err(BadFrame));
        let mut short = good;
        short[4] -= 1;
        assert_eq!(text(&short), Err(BadFrame));
    }
}
