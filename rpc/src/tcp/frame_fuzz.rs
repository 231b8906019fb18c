//! Frames of bytes that nobody meant as frames.

use proptest::prelude::*;

use super::*;

fn taken_apart(bytes: &[u8]) -> Option<Result<(), FrameError>> {
    match frame_len(bytes) {
        Ok(Some(len)) => {
            assert!((PREFIX_LEN + BODY_LEN_MIN..=PREFIX_LEN + BODY_LEN_MAX).contains(&len));
            bytes.get(..len).map(|frame| parse(frame).map(drop))
        }
        Ok(None) => None,
        Err(error) => Some(Err(error)),
    }
}

/// Makes the length and the checksum right, so that what is behind them is looked at.
fn sealed(body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len()).expect("a small body");
    [&len.to_le_bytes()[..], &crc32fast::hash(body).to_le_bytes(), body].concat()
}

proptest! {
    #[test]
    fn any_bytes_are_a_frame_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        _ = taken_apart(&bytes);
    }

    #[test]
    fn any_body_is_a_frame_or_an_error(
        kind in 0..6u8,
        rest in proptest::collection::vec(any::<u8>(), 8..300),
    ) {
        let body = [&[kind], &rest[..]].concat();
        _ = taken_apart(&sealed(&body));
    }

    #[test]
    fn a_changed_bit_is_noticed(
        method in "[A-Za-z.]{1,20}",
        args in proptest::collection::vec(any::<u8>(), 0..100),
        bit in any::<prop::sample::Index>(),
    ) {
        let header = Header::request(7, &method, &args).expect("it is small");
        let mut bytes = [header.bytes(), &args].concat();
        prop_assert_eq!(taken_apart(&bytes), Some(Ok(())));
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        // Of a longer frame, more is waited for.
        prop_assert!(matches!(taken_apart(&bytes), None | Some(Err(_))));
    }
}
