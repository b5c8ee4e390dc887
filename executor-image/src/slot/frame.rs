//! A frame: one batch on its way, `[rows u32][raw length u32][LZ4 block]`, little endian. Checked before anything is held.

use bytes::Bytes;
use engine::{Batch, Error, Result};
use lz4_flex::block;

const HEADER: usize = 8;
/// LZ4 cannot do better: a length beyond this is a lie.
const BEST_RATIO: usize = 255;
/// Room for the last literals of a tiny block.
const SLACK: usize = 64;

/// Compresses a batch.
///
/// # Errors
/// If it is too large for its header.
pub fn encode(batch: &Batch) -> Result<Bytes> {
    let too_large = || Error::Exchange {
        attempt: format!("hand on a batch of {} bytes and {} rows, which is too large", batch.bytes.len(), batch.rows),
        lost: Vec::new(),
        source: "frames are below 4 GiB".into(),
    };
    let rows = u32::try_from(batch.rows).map_err(|_| too_large())?;
    let length = u32::try_from(batch.bytes.len()).map_err(|_| too_large())?;
    let mut frame = vec![0; HEADER + block::get_maximum_output_size(batch.bytes.len())];
    frame[..4].copy_from_slice(&rows.to_le_bytes());
    frame[4..HEADER].copy_from_slice(&length.to_le_bytes());
    let compressed =
        block::compress_into(&batch.bytes, &mut frame[HEADER..]).map_err(|_| Error::Corrupt("a batch does not compress"))?;
    frame.truncate(HEADER + compressed);
    // What waits in queues should take what it needs, not what it might have needed.
    frame.shrink_to_fit();
    Ok(Bytes::from(frame))
}

/// Takes a frame apart.
///
/// # Errors
/// [`Error::Corrupt`] if it is none.
pub fn decode(frame: &[u8]) -> Result<Batch> {
    let word =
        |at: usize| frame.get(at..at + 4).map(|bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize);
    let (Some(rows), Some(length)) = (word(0), word(4)) else { return Err(Error::Corrupt("a frame is too short")) };
    let block = &frame[HEADER..];
    if length > block.len().saturating_mul(BEST_RATIO).saturating_add(SLACK) || rows > length {
        return Err(Error::Corrupt("a frame says that it holds more than it can"));
    }
    let bytes = block::decompress(block, length).map_err(|_| Error::Corrupt("a frame does not decompress"))?;
    if bytes.len() != length {
        return Err(Error::Corrupt("a frame has another length than it says"));
    }
    Ok(Batch { rows, bytes })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn frames_come_back_as_they_were_and_no_byte_of_them_can_break_anything(
            bytes in proptest::collection::vec(0_u8..4, 1..3000),
            at in any::<prop::sample::Index>(),
            value in any::<u8>(),
        ) {
            let batch = Batch { rows: bytes.len().div_ceil(3), bytes };
            let frame = encode(&batch).unwrap();
            let back = decode(&frame).unwrap();
            prop_assert_eq!((back.rows, &back.bytes), (batch.rows, &batch.bytes));
            let mut damaged = frame.to_vec();
            let at = at.index(damaged.len());
            damaged[at] = value;
            // It may still be a frame, of other bytes: those are checked as rows. It must not panic.
            let _ = decode(&damaged);
            prop_assert!(decode(&frame[..at]).is_err());
        }
    }

    #[test]
    fn an_empty_batch_is_a_frame() {
        assert_eq!(decode(&encode(&Batch::default()).unwrap()).unwrap().bytes, Vec::<u8>::new());
    }

    #[test]
    fn a_frame_cannot_claim_more_than_it_holds() {
        for (rows, length) in [(1_u32, u32::MAX), (u32::MAX, 100)] {
            let mut frame = encode(&Batch { rows: 1, bytes: vec![7; 100] }).unwrap().to_vec();
            frame[..4].copy_from_slice(&rows.to_le_bytes());
            frame[4..8].copy_from_slice(&length.to_le_bytes());
            assert!(matches!(decode(&frame), Err(Error::Corrupt("a frame says that it holds more than it can"))));
        }
    }
}
