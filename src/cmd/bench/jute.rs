//! Jute, the encoding of ZooKeeper's messages: numbers begin with their highest byte; texts, bytes, and
//! whole messages follow their length.

/// The longest message, either way: what a server takes that was told nothing else (`jute.maxbuffer`).
pub(super) const MESSAGE_BYTES_MAX: usize = 0xf_ffff;

const LENGTH_BYTES: usize = size_of::<i32>();

/// A message that is being written; [`end`](Self::end) puts its length before it.
#[must_use]
pub(super) struct Message<'a> {
    out: &'a mut Vec<u8>,
    begins: usize,
}

impl<'a> Message<'a> {
    pub(super) fn begin(out: &'a mut Vec<u8>) -> Self {
        let begins = out.len();
        out.extend([0; LENGTH_BYTES]);
        Self { out, begins }
    }

    pub(super) fn flag(self, flag: bool) -> Self {
        self.out.push(u8::from(flag));
        self
    }

    pub(super) fn int(self, number: i32) -> Self {
        self.out.extend(number.to_be_bytes());
        self
    }

    pub(super) fn long(self, number: i64) -> Self {
        self.out.extend(number.to_be_bytes());
        self
    }

    /// Bytes, or a text.
    pub(super) fn bytes(self, bytes: &[u8]) -> Self {
        self.out.extend(length(bytes.len()));
        self.out.extend_from_slice(bytes);
        self
    }

    pub(super) fn end(self) {
        let message = self.begins + LENGTH_BYTES;
        let bytes = length(self.out.len() - message);
        self.out[self.begins..message].copy_from_slice(&bytes);
    }
}

fn length(bytes: usize) -> [u8; LENGTH_BYTES] {
    let bytes = i32::try_from(bytes).ok().filter(|_| bytes <= MESSAGE_BYTES_MAX);
    bytes.expect("the command line does not allow longer values").to_be_bytes()
}

/// The message that `input` begins with, and how many bytes it takes there; nothing while it is not whole.
pub(super) fn message(input: &[u8]) -> Result<Option<(Fields<'_>, usize)>, String> {
    let Some((length, rest)) = input.split_first_chunk() else { return Ok(None) };
    let length = i32::from_be_bytes(*length);
    // Before more room is made for it.
    let bytes = usize::try_from(length).ok().filter(|&bytes| bytes <= MESSAGE_BYTES_MAX);
    let bytes = bytes.ok_or_else(|| format!("a message of {length} bytes"))?;
    Ok(rest.get(..bytes).map(|message| (Fields(message), LENGTH_BYTES + bytes)))
}

/// What of a message is still to be read.
#[derive(Debug)]
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn int(&mut self) -> Result<i32, String> {
        self.chunk().map(i32::from_be_bytes)
    }

    pub(super) fn long(&mut self) -> Result<i64, String> {
        self.chunk().map(i64::from_be_bytes)
    }

    /// Bytes; a length of -1 stands for none.
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], String> {
        let length = self.int()?;
        if length == -1 {
            return Ok(&[]);
        }
        let bytes = usize::try_from(length).map_err(|_| format!("a field of {length} bytes"))?;
        let (bytes, rest) = self.0.split_at_checked(bytes).ok_or_else(cut)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (chunk, rest) = self.0.split_first_chunk().ok_or_else(cut)?;
        self.0 = rest;
        Ok(*chunk)
    }
}

fn cut() -> String {
    "a message that ends too early".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_as_they_were_written() {
        let mut out = vec![7];
        Message::begin(&mut out).int(-2).long(1 << 40).bytes(b"ab").flag(true).end();
        assert_eq!(out[..5], [7, 0, 0, 0, 19]);
        let (mut fields, bytes) = message(&out[1..]).unwrap().unwrap();
        assert_eq!(bytes, out.len() - 1);
        assert_eq!((fields.int(), fields.long()), (Ok(-2), Ok(1 << 40)));
        assert_eq!(fields.bytes(), Ok(&b"ab"[..]));
        assert_eq!(fields.0, [1]);
        assert_eq!(fields.int(), Err(cut()));
    }

    #[test]
    fn no_message_is_there_before_it_is_whole() {
        let mut out = Vec::new();
        Message::begin(&mut out).int(1).end();
        for end in 0..out.len() {
            assert!(message(&out[..end]).unwrap().is_none(), "{end} bytes");
        }
        assert!(message(&out).unwrap().is_some());
    }

    #[test]
    fn lengths_beyond_the_limit_are_refused_by_themselves() {
        let of = |length: i32| message(&length.to_be_bytes()).map(|found| found.is_some());
        assert_eq!(of(0xf_ffff), Ok(false));
        assert_eq!(of(0x10_0000), Err("a message of 1048576 bytes".to_owned()));
        assert_eq!(of(-1), Err("a message of -1 bytes".to_owned()));
    }

    #[test]
    fn a_field_ends_within_its_message() {
        let field = |length: i32| {
            let bytes = [&length.to_be_bytes()[..], b"abc"].concat();
            Fields(&bytes).bytes().map(<[u8]>::to_vec)
        };
        assert_eq!(field(3), Ok(b"abc".to_vec()));
        assert_eq!(field(-1), Ok(Vec::new()));
        assert_eq!(field(4), Err(cut()));
        assert_eq!(field(-2), Err("a field of -2 bytes".to_owned()));
    }
}
