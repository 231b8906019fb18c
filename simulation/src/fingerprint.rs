//! Fingerprints of bytes and numbers: the same in every process, and fast.

/// Mixes one number into a fingerprint.
pub(crate) fn mix(into: u64, number: u64) -> u64 {
    let mixed = (into.rotate_left(23) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 29)
}

/// Mixes bytes and their number into a fingerprint.
pub(crate) fn mix_bytes(into: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let mixed = words.iter().fold(into, |into, word| mix(into, u64::from_le_bytes(*word)));
    let last = rest.iter().fold(0, |last, byte| (last << 8) | u64::from(*byte));
    mix(mix(mixed, last), bytes.len() as u64)
}
