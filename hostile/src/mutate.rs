//! Examples changed a little: bits flipped, parts cut out, repeated, spliced with other examples, cut off.

/// A small generator of random numbers (xorshift*), the same for the same seed on every machine.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    #[must_use]
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`, or 0.
    pub fn below(&mut self, end: usize) -> usize {
        if end == 0 { 0 } else { (self.next() >> 16) as usize % end }
    }
}

/// Bytes that mean something to one reader or another.
const TOKENS: [&[u8]; 24] = [
    b"\"",
    b"'",
    b"\n",
    b"\r\n",
    b"\t",
    b",",
    b":",
    b": ",
    b"- ",
    b"{",
    b"}",
    b"[",
    b"]",
    b"#",
    b" #",
    b"\\",
    b"\\u",
    b"(",
    b")",
    b"end",
    b"\xff\xff\xff\xff",
    b"\0",
    b"\xdd\xff\xff\xff\xff",
    b"\xef\xbb\xbf",
];

/// One of the examples, changed in one to four places.
#[must_use]
pub fn mutated(examples: &[&[u8]], random: &mut Random) -> Vec<u8> {
    let mut bytes = examples[random.below(examples.len())].to_vec();
    for _ in 0..=random.below(4) {
        change(&mut bytes, examples, random);
    }
    bytes
}

fn change(bytes: &mut Vec<u8>, examples: &[&[u8]], random: &mut Random) {
    let at = random.below(bytes.len() + 1);
    match random.below(8) {
        0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
        1 if at < bytes.len() => bytes[at] = random.below(256) as u8,
        2 => bytes.truncate(at),
        3 => {
            let end = (at + 1 + random.below(16)).min(bytes.len());
            bytes.drain(at.min(end)..end);
        }
        4 => {
            let other = examples[random.below(examples.len())];
            let start = random.below(other.len() + 1);
            let end = (start + random.below(32)).min(other.len());
            bytes.splice(at..at, other[start..end].iter().copied());
        }
        5 => {
            let end = (at + random.below(24)).min(bytes.len());
            let part = bytes[at..end].to_vec();
            let most = if random.below(20) == 0 { 2000 } else { 3 };
            let times = 1 + random.below(most);
            bytes.splice(at..at, part.repeat(times));
        }
        _ => {
            let token = TOKENS[random.below(TOKENS.len())];
            bytes.splice(at..at, token.iter().copied());
        }
    }
}
