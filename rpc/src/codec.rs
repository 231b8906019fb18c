//! Values to bytes and back: the only file that names bincode.
//!
//! Every encoded value starts with one schema byte; an unknown one is a typed error. Integers are
//! little-endian and of fixed width, so lengths are predictable and bytes readable by hand. A
//! length claimed by the bytes is checked against the type's limit before anything is decoded,
//! and every byte must be consumed.
//!
//! Types that pass through here hold no recursive types, no zero-sized elements, no maps whose
//! order is not fixed, and no floats: bincode accepts a vector of unit values of any length.

use bincode::config::{Configuration, Fixint, Limit, LittleEndian};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The largest value any type may allow itself, in bytes.
pub const MAX_BYTES: usize = 64 << 20;

const CONFIG: Configuration<LittleEndian, Fixint, Limit<MAX_BYTES>> = bincode::config::standard()
    .with_little_endian()
    .with_fixed_int_encoding()
    .with_limit::<MAX_BYTES>();

/// A type that travels between peers or into the log, with its schema number and its size limit.
pub trait Wire: Serialize + DeserializeOwned {
    /// Written in front of the value; raised when the meaning of its bytes changes.
    const SCHEMA: u8 = 1;
    /// The most bytes an encoded value may have, the schema byte included.
    const MAX_BYTES: usize = 1 << 20;

    /// About as many bytes as this value has encoded: room that is made ahead, no limit.
    fn len_hint(&self) -> usize {
        256
    }
}

/// Why a value could not be encoded or decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The value is larger than its type allows.
    #[error("{type_name}: {len} bytes, more than the {limit} allowed")]
    TooLarge {
        /// The Rust type.
        type_name: &'static str,
        /// The encoded length, in bytes.
        len: usize,
        /// The type's limit, in bytes.
        limit: usize,
    },
    /// The schema byte names a version this build does not know.
    #[error("{type_name}: schema {found}, but this build reads schema {known}")]
    UnknownSchema {
        /// The Rust type.
        type_name: &'static str,
        /// The schema byte found; 0 also stands for an empty input.
        found: u8,
        /// The schema this build writes and reads.
        known: u8,
    },
    /// The bytes do not hold such a value.
    #[error("{type_name}: {reason}")]
    Malformed {
        /// The Rust type.
        type_name: &'static str,
        /// What the decoder found.
        reason: String,
    },
}

/// Encodes `value`, its schema byte first.
pub fn encode<T: Wire>(value: &T) -> Result<Vec<u8>, CodecError> {
    let mut bytes = Vec::new();
    encode_behind(value, &mut bytes)?;
    Ok(bytes)
}

/// [`encode`], behind what `bytes` holds, which may be encoded values too. After an error there may be
/// anything behind that.
pub fn encode_behind<T: Wire>(value: &T, bytes: &mut Vec<u8>) -> Result<(), CodecError> {
    let (type_name, begin) = (std::any::type_name::<T>(), bytes.len());
    bytes.reserve(value.len_hint().min(T::MAX_BYTES));
    bytes.push(T::SCHEMA);
    bincode::serde::encode_into_std_write(value, bytes, CONFIG)
        .map_err(|e| CodecError::Malformed { type_name, reason: e.to_string() })?;
    check_len::<T>(bytes.len() - begin)
}

/// Decodes what [`encode`] wrote; every byte must be consumed.
pub fn decode<T: Wire>(bytes: &[u8]) -> Result<T, CodecError> {
    decode_as::<T, T>(bytes)
}

/// [`decode`], of a `T`, as a type that is encoded alike and may borrow from `bytes`.
pub fn decode_as<'a, T: Wire, V: Deserialize<'a>>(bytes: &'a [u8]) -> Result<V, CodecError> {
    let type_name = std::any::type_name::<T>();
    check_len::<T>(bytes.len())?;
    let (&found, body) = bytes.split_first().unwrap_or((&0, &[]));
    if found != T::SCHEMA {
        return Err(CodecError::UnknownSchema { type_name, found, known: T::SCHEMA });
    }
    let malformed = |reason| CodecError::Malformed { type_name, reason };
    // Borrowed while it is decoded: bytes are copied once, to where they are kept.
    let (value, consumed) = bincode::serde::borrow_decode_from_slice(body, CONFIG)
        .map_err(|e: bincode::error::DecodeError| malformed(e.to_string()))?;
    if consumed != body.len() {
        return Err(malformed(format!("{} bytes left over", body.len() - consumed)));
    }
    Ok(value)
}

fn check_len<T: Wire>(len: usize) -> Result<(), CodecError> {
    let limit = T::MAX_BYTES.min(MAX_BYTES);
    if len > limit {
        return Err(CodecError::TooLarge { type_name: std::any::type_name::<T>(), len, limit });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Sample {
        term: u64,
        vote: Option<u64>,
        data: Vec<u8>,
    }

    impl Wire for Sample {
        const MAX_BYTES: usize = 64;
    }

    fn sample() -> Sample {
        Sample { term: 3, vote: Some(1), data: vec![7; 5] }
    }

    #[test]
    fn the_bytes_are_fixed_width_and_little_endian() {
        let mut expected = vec![1];
        expected.extend(3u64.to_le_bytes());
        expected.push(1);
        expected.extend(1u64.to_le_bytes());
        expected.extend(5u64.to_le_bytes());
        expected.extend([7; 5]);
        assert_eq!(encode(&sample()).unwrap(), expected);
        assert_eq!(decode::<Sample>(&expected).unwrap(), sample());
    }

    #[test]
    fn a_value_can_be_decoded_without_a_copy() {
        #[derive(Deserialize)]
        struct Borrowed<'a> {
            term: u64,
            vote: Option<u64>,
            data: &'a [u8],
        }
        let bytes = encode(&sample()).unwrap();
        let Borrowed { term, vote, data } = decode_as::<Sample, _>(&bytes).unwrap();
        assert_eq!((term, vote, data), (3, Some(1), &[7; 5][..]));
        assert_eq!(data.as_ptr_range().end, bytes.as_ptr_range().end);
        let padded = [bytes.as_slice(), &[0]].concat();
        assert!(decode_as::<Sample, Borrowed<'_>>(&padded).is_err());
    }

    #[test]
    fn a_value_over_its_limit_is_refused_both_ways() {
        let large = Sample { data: vec![0; 64], ..sample() };
        assert!(matches!(encode(&large), Err(CodecError::TooLarge { limit: 64, .. })));
        assert!(matches!(decode::<Sample>(&[1; 65]), Err(CodecError::TooLarge { len: 65, .. })));
    }

    #[test]
    fn what_stands_before_a_value_does_not_count() {
        let mut bytes = vec![9; 60];
        encode_behind(&sample(), &mut bytes).unwrap();
        assert_eq!(bytes, [vec![9; 60], encode(&sample()).unwrap()].concat());
        let (before, large) = (bytes.clone(), Sample { data: vec![0; 64], ..sample() });
        assert!(matches!(
            encode_behind(&large, &mut bytes),
            Err(CodecError::TooLarge { len: 90, limit: 64, .. })
        ));
        assert!(bytes.starts_with(&before));
    }

    #[test]
    fn a_claimed_length_is_not_believed() {
        let mut bytes = encode(&sample()).unwrap();
        bytes[18..26].copy_from_slice(&(u64::MAX / 2).to_le_bytes());
        assert!(matches!(decode::<Sample>(&bytes), Err(CodecError::Malformed { .. })));
    }

    #[test]
    fn cut_padded_and_foreign_bytes_are_refused() {
        let bytes = encode(&sample()).unwrap();
        for cut in 0..bytes.len() {
            assert!(decode::<Sample>(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        let padded = [bytes.as_slice(), &[0]].concat();
        assert!(matches!(decode::<Sample>(&padded), Err(CodecError::Malformed { .. })));
        let mut foreign = bytes;
        foreign[0] = 9;
        assert!(matches!(
            decode::<Sample>(&foreign),
            Err(CodecError::UnknownSchema { found: 9, known: 1, .. })
        ));
    }
}
