//! Digests of whole files, several threads on each: SHA-256 over the digests of fixed pieces.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use sha2::{Digest, Sha256};

use crate::lock::lock;

/// What one thread digests at a time. Part of the definition of a digest.
const PIECE: u64 = 4 << 20;
const BUFFER: usize = 256 << 10;

/// The digest of the first `len` bytes of a file, which must be there.
pub(super) fn digest(file: &File, len: u64, threads: usize) -> io::Result<[u8; 32]> {
    let count = usize::try_from(len.div_ceil(PIECE)).unwrap_or(usize::MAX);
    let pieces = Mutex::new(vec![[0; 32]; count]);
    let failure = Mutex::new(None);
    let next = AtomicUsize::new(0);
    let work = || {
        let mut buffer = vec![0; BUFFER];
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= count || lock(&failure).is_some() {
                return;
            }
            let start = at as u64 * PIECE;
            match piece(file, start, PIECE.min(len - start), &mut buffer) {
                Ok(digest) => lock(&pieces)[at] = digest,
                Err(error) => *lock(&failure) = Some(error),
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.min(count) {
            scope.spawn(work);
        }
        work();
    });
    if let Some(error) = lock(&failure).take() {
        return Err(error);
    }
    let mut whole = Sha256::new();
    whole.update(len.to_be_bytes());
    lock(&pieces).iter().for_each(|piece| whole.update(piece));
    Ok(whole.finalize().into())
}

fn piece(file: &File, start: u64, len: u64, buffer: &mut [u8]) -> io::Result<[u8; 32]> {
    let (mut hasher, mut done) = (Sha256::new(), 0);
    while done < len {
        let wanted = buffer.len().min((len - done) as usize);
        file.read_exact_at(&mut buffer[..wanted], start + done)?;
        hasher.update(&buffer[..wanted]);
        done += wanted as u64;
    }
    Ok(hasher.finalize().into())
}

/// The digest of whatever a file gives until its end: for files of a size of 0 that have bytes (those of /proc).
pub(super) fn stream(file: &mut File) -> io::Result<[u8; 32]> {
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; BUFFER]);
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finalize().into()),
            Ok(len) => hasher.update(&buffer[..len]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
