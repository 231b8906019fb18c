//! Commands from bytes: a table, then any bytes in any pieces.

use proptest::prelude::*;

use super::*;

fn words(text: &str) -> Words {
    text.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

/// Everything `pieces` hold: the commands, and the error they end in if they do.
fn parse_all(limits: ParseLimits, pieces: &[&[u8]]) -> (Vec<Words>, Option<ProtocolError>) {
    let mut parser = Parser::new(limits);
    let mut commands = Vec::new();
    for piece in pieces {
        parser.feed(piece);
        loop {
            match parser.next_command() {
                Ok(Some(command)) => commands.push(command),
                Ok(None) => break,
                Err(error) => return (commands, Some(error)),
            }
        }
    }
    (commands, None)
}

#[track_caller]
fn check(bytes: &str, commands: &[&str], error: Option<&str>) {
    let (found, found_error) = parse_all(ParseLimits::NORMAL, &[bytes.as_bytes()]);
    assert_eq!(found, commands.iter().map(|c| words(c)).collect::<Vec<_>>(), "{bytes:?}");
    let error = error.map(|e| format!("Protocol error: {e}"));
    assert_eq!(found_error.map(|e| e.to_string()), error, "{bytes:?}");
}

#[test]
fn arrays_and_lines() {
    check("", &[], None);
    check("PING\r\n", &["PING"], None);
    check("PING\n\r\n\nECHO x\r\n", &["PING", "ECHO x"], None);
    check("*1\r\n$4\r\nPING\r\n", &["PING"], None);
    check("*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*1\r\n$4\r\nPING\r\n", &["GET k", "PING"], None);
    check("*2\r\n$4\r\nECHO\r\n$0\r\n\r\nPING\r\n", &["ECHO ", "PING"], None);
    check("*0\r\n*-1\r\nPING\r\n", &["PING"], None);
    check("*1\r\n$4\r\nPIN", &[], None);
    check("*2\r\n$4\r\nECHO\r\n", &[], None);
}

#[test]
fn what_is_not_resp_is_named() {
    check("*x\r\n", &[], Some("invalid multibulk length"));
    check("*1048577\r\n", &[], Some("invalid multibulk length"));
    check("*1\r\n+PING\r\n", &[], Some("expected '$', got '+'"));
    check("*1\r\n$-1\r\n", &[], Some("invalid bulk length"));
    check("*1\r\n$4194305\r\n", &[], Some("invalid bulk length"));
    check("PING\r\n*1\r\n$4\r\nPINGxx", &["PING"], Some("expected CRLF behind a bulk string"));
    check("echo \"a\r\n", &[], Some("unbalanced quotes in request"));
    let line = "x".repeat(LINE_BYTES_MAX);
    check(&line, &[], Some("too big inline request"));
    check(&format!("*{line}"), &[], Some("too big mbulk count string"));
    check(&format!("*1\r\n${line}"), &[], Some("too big bulk count string"));
}

#[test]
fn before_authentication_the_limits_are_small() {
    let parse = |bytes: &str| parse_all(ParseLimits::UNAUTHENTICATED, &[bytes.as_bytes()]).1;
    assert!(parse("*11\r\n").is_some());
    assert!(parse("*1\r\n$16385\r\n").is_some());
    assert!(parse("*3\r\n$5\r\nhello\r\n").is_none());
}

#[test]
fn the_length_of_a_whole_command_is_bounded() {
    let limits = ParseLimits { command_bytes_max: 100, ..ParseLimits::NORMAL };
    let word = "$30\r\n".to_owned() + &"x".repeat(30) + "\r\n";
    let three = "*4\r\n".to_owned() + &word.repeat(3);
    let (_, error) = parse_all(limits, &[three.as_bytes()]);
    assert_eq!(error, Some("command too large".into()));
    let empty = "*100\r\n".to_owned() + &"$0\r\n\r\n".repeat(17);
    let (_, error) = parse_all(limits, &[empty.as_bytes()]);
    assert_eq!(error, Some("command too large".into()), "empty words are not free");
}

#[test]
fn a_claimed_length_allocates_nothing() {
    let mut parser = Parser::new(ParseLimits::NORMAL);
    parser.feed(b"*1048576\r\n$4194304\r\nx");
    assert_eq!(parser.next_command(), Ok(None));
    assert!(parser.buffer.capacity() < 1000);
    assert!(parser.partial.as_ref().unwrap().words.capacity() < 1000);
}

/// Bytes that are mostly commands.
fn traffic() -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![
        4 => Just(b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n".to_vec()),
        2 => Just(b"*1\r\n".to_vec()),
        2 => Just(b"$2\r\nab\r\n".to_vec()),
        2 => Just(b"PING x\r\n".to_vec()),
        1 => Just(b"echo \"a b\"\r\n".to_vec()),
        1 => Just(b"*3\r\n$0\r\n\r\n".to_vec()),
        1 => Just(b"\r\n".to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..8),
        1 => proptest::collection::vec(proptest::sample::select(b"*$-19\r\n\"'x".to_vec()), 0..8),
    ];
    proptest::collection::vec(token, 0..20).prop_map(|tokens| tokens.concat())
}

proptest! {
    #[test]
    fn the_pieces_bytes_come_in_do_not_matter(
        bytes in traffic(),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..10),
    ) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
        let whole = parse_all(ParseLimits::NORMAL, &[&bytes]);
        prop_assert_eq!(parse_all(ParseLimits::NORMAL, &pieces), whole.clone());
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        prop_assert_eq!(parse_all(ParseLimits::NORMAL, &single), whole);
    }

    #[test]
    fn what_is_written_is_read(
        commands in proptest::collection::vec(
            proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 1..6), 0..6),
    ) {
        let mut bytes = Vec::new();
        for command in &commands {
            bytes.extend(format!("*{}\r\n", command.len()).into_bytes());
            for word in command {
                bytes.extend(format!("${}\r\n", word.len()).into_bytes());
                bytes.extend(word);
                bytes.extend(b"\r\n");
            }
        }
        prop_assert_eq!(parse_all(ParseLimits::NORMAL, &[&bytes]), (commands, None));
    }
}
