//! Every operation against a table of cases, and the scan's promise under change.

use super::*;
use crate::key::hash;

fn b(text: &str) -> Bytes {
    Bytes::from(text.as_bytes())
}

fn v(text: &str) -> Value {
    text.as_bytes().to_vec().into()
}

fn keys(words: &[&str]) -> Vec<Bytes> {
    words.iter().map(|w| b(w)).collect()
}

fn value(text: &str) -> Answer {
    Answer::Bytes(b(text))
}

fn store(pairs: &[(&str, &str)]) -> Data {
    let mut data = Data::default();
    for (key, value) in pairs {
        data.put(key.as_bytes(), v(value)).unwrap();
    }
    data
}

fn run(data: &mut Data, op: Op) -> Answer {
    let answer = data.execute(op, None, &mut Budget::default());
    let sum: usize = data.iter().map(|record| record.key.len() + record.value.len()).sum();
    assert_eq!(data.len_bytes(), sum as u64, "the running sum of bytes");
    answer
}

/// Runs `op` on a store with a=1, n=10, t=text; checks the answer, and key `k`'s value afterwards.
#[track_caller]
fn check(op: Op, answer: Answer, key: &str, after: Option<&str>) {
    let mut data = store(&[("a", "1"), ("n", "10"), ("t", "text")]);
    assert_eq!(run(&mut data, op.clone()), answer, "{op:?}");
    assert_eq!(data.get(key.as_bytes()), after.map(str::as_bytes), "{key} after {op:?}");
}

#[test]
fn reads() {
    check(Op::Get { key: b("a") }, value("1"), "a", Some("1"));
    check(Op::Get { key: b("x") }, Answer::Nil, "x", None);
    check(
        Op::MGet { keys: keys(&["a", "x", "a"]) },
        Answer::List(vec![Some(b("1")), None, Some(b("1"))]),
        "a",
        Some("1"),
    );
    check(Op::StrLen { key: b("t") }, Answer::Integer(4), "t", Some("text"));
    check(Op::StrLen { key: b("x") }, Answer::Integer(0), "x", None);
    check(Op::Exists { keys: keys(&["a", "x", "a"]) }, Answer::Integer(2), "a", Some("1"));
    check(Op::DbSize, Answer::Integer(3), "a", Some("1"));
    check(Op::Keys { pattern: b("[a-m]") }, Answer::List(vec![Some(b("a"))]), "a", Some("1"));
}

#[test]
fn unconditional_writes() {
    check(Op::Put { key: b("a"), value: b("2") }, Answer::Ok, "a", Some("2"));
    check(Op::Put { key: b("x"), value: b("") }, Answer::Ok, "x", Some(""));
    check(Op::Append { key: b("t"), value: b("+") }, Answer::Integer(5), "t", Some("text+"));
    check(Op::Append { key: b("x"), value: b("+") }, Answer::Integer(1), "x", Some("+"));
    check(Op::GetDel { key: b("a") }, value("1"), "a", None);
    check(Op::GetDel { key: b("x") }, Answer::Nil, "x", None);
    check(Op::Del { keys: keys(&["a", "x", "a"]) }, Answer::Integer(1), "a", None);
    let pairs = vec![(b("a"), b("2")), (b("y"), b("3")), (b("a"), b("4"))];
    check(Op::MSet { pairs: pairs.clone() }, Answer::Ok, "a", Some("4"));
    check(Op::MSetNx { pairs: pairs.clone() }, Answer::Integer(0), "y", None);
    check(Op::MSetNx { pairs: pairs[1..2].to_vec() }, Answer::Integer(1), "y", Some("3"));
}

#[test]
fn conditional_writes() {
    let set = |key, condition, get| Op::Set { key: b(key), value: b("new"), condition, get };
    let is = |text| Condition::Equals(b(text));
    let not = |text| Condition::Differs(b(text));
    check(set("a", Condition::Always, false), Answer::Ok, "a", Some("new"));
    check(set("a", Condition::Absent, false), Answer::Nil, "a", Some("1"));
    check(set("x", Condition::Absent, false), Answer::Ok, "x", Some("new"));
    check(set("a", Condition::Present, false), Answer::Ok, "a", Some("new"));
    check(set("x", Condition::Present, false), Answer::Nil, "x", None);
    check(set("a", is("1"), false), Answer::Ok, "a", Some("new"));
    check(set("a", is("2"), false), Answer::Nil, "a", Some("1"));
    check(set("x", is("1"), false), Answer::Nil, "x", None);
    check(set("a", not("1"), false), Answer::Nil, "a", Some("1"));
    check(set("a", not("2"), false), Answer::Ok, "a", Some("new"));
    check(set("x", not("1"), false), Answer::Ok, "x", Some("new"));
    check(set("a", Condition::Always, true), value("1"), "a", Some("new"));
    check(set("a", Condition::Absent, true), value("1"), "a", Some("1"));
    check(set("x", Condition::Absent, true), Answer::Nil, "x", Some("new"));
    let del = |key, condition| Op::DelIf { key: b(key), condition };
    check(del("a", is("1")), Answer::Integer(1), "a", None);
    check(del("a", is("2")), Answer::Integer(0), "a", Some("1"));
    check(del("a", not("2")), Answer::Integer(1), "a", None);
    check(del("x", not("2")), Answer::Integer(0), "x", None);
}

#[test]
fn increments() {
    let add = |key, by| Op::IncrBy { key: b(key), by };
    check(add("n", 5), Answer::Integer(15), "n", Some("15"));
    check(add("n", -15), Answer::Integer(-5), "n", Some("-5"));
    check(add("x", 1), Answer::Integer(1), "x", Some("1"));
    check(add("t", 1), Answer::Error(OpError::NotAnInteger), "t", Some("text"));
    check(add("n", i64::MAX), Answer::Error(OpError::Overflow), "n", Some("10"));
    check(add("a", i64::MIN), Answer::Integer(i64::MIN + 1), "a", Some("-9223372036854775807"));
}

#[test]
fn only_canonical_numbers_are_numbers() {
    for good in ["0", "7", "-7", "9223372036854775807", "-9223372036854775808"] {
        assert_eq!(parse_integer(good.as_bytes()), good.parse().ok(), "{good}");
    }
    for bad in ["", "-", "+1", "01", "-0", "1 ", " 1", "1.0", "9223372036854775808", "٣"] {
        assert_eq!(parse_integer(bad.as_bytes()), None, "{bad}");
    }
}

#[test]
fn lengths_are_bounded() {
    let long = Bytes::from(vec![b'x'; VALUE_BYTES_MAX]);
    let mut data = Data::default();
    assert_eq!(run(&mut data, Op::Put { key: b("v"), value: long.clone() }), Answer::Ok);
    assert_eq!(
        run(&mut data, Op::Append { key: b("v"), value: b("+") }),
        Answer::Error(OpError::ValueTooLong)
    );
    let long_key = Bytes::from(vec![b'k'; KEY_BYTES_MAX + 1]);
    assert_eq!(
        run(&mut data, Op::MSet { pairs: vec![(b("fine"), b("1")), (long_key, b("2"))] }),
        Answer::Error(OpError::KeyTooLong)
    );
    assert_eq!(data.len(), 1, "a refused operation has no effect at all");
}

#[test]
fn an_answer_too_large_has_no_effect() {
    let mut data = store(&[("a", "0123456789")]);
    let enough = &mut Budget(2 * ANSWER_ITEM_BYTES + 10);
    assert_eq!(data.execute(Op::GetDel { key: b("a") }, None, enough), value("0123456789"));
    data.put(b"a", v("0123456789")).unwrap();
    let set = Op::Set { key: b("a"), value: b("new"), condition: Condition::Always, get: true };
    for op in [Op::GetDel { key: b("a") }, set, Op::Get { key: b("a") }] {
        let answer = data.execute(op, None, &mut Budget(2 * ANSWER_ITEM_BYTES + 9));
        assert_eq!(answer, Answer::Error(OpError::AnswerTooLarge));
        assert_eq!(data.get(b"a"), Some(b"0123456789".as_slice()));
    }
}

#[test]
fn a_scan_sees_each_lasting_key_once_whatever_else_changes() {
    let mut data = Data::default();
    let lasting: Vec<String> = (0..300).map(|n| format!("key:{n}")).collect();
    for key in &lasting {
        data.put(key.as_bytes(), v("v")).unwrap();
    }
    let (mut cursor, mut seen, mut round) = (0, Vec::new(), 0);
    loop {
        let op = Op::Scan { cursor, count: 10, pattern: Some(b("key:*")) };
        let Answer::Page { cursor: next, keys } = run(&mut data, op) else { panic!("no page") };
        assert!(keys.len() <= 10);
        seen.extend(keys.into_iter().map(|k| String::from_utf8(k.into_vec()).unwrap()));
        for n in 0..7 {
            let key = format!("passing:{}", (round * 5 + n) % 50);
            if !data.remove(key.as_bytes()) {
                data.put(key.as_bytes(), v("v")).unwrap();
            }
        }
        round += 1;
        cursor = next;
        if cursor == 0 {
            break;
        }
    }
    let mut expected = lasting;
    expected.sort();
    seen.sort();
    assert_eq!(seen, expected);
}

#[test]
fn a_scan_without_a_match_moves_on() {
    let mut data = store(&[("a", "1"), ("b", "2"), ("c", "3")]);
    let op = Op::Scan { cursor: 0, count: 1, pattern: Some(b("nothing")) };
    let Answer::Page { cursor, keys } = run(&mut data, op) else { panic!("no page") };
    assert!(cursor != 0 && keys.is_empty());
    let op = Op::Scan { cursor: u64::MAX, count: 0, pattern: None };
    assert_eq!(run(&mut data, op), Answer::Page { cursor: 0, keys: vec![] });
}

#[test]
fn keys_of_one_hash_share_a_page() {
    // A known collision of FNV-1a.
    let twins = ["8yn0iYCKYHlIj4-BwPqk", "GReLUrM4wMqfg9yzV3KQ"];
    assert_eq!(hash(twins[0].as_bytes()), hash(twins[1].as_bytes()));
    let others = ["a", "b", "c", "d", "e"].map(|key| (key, ""));
    let mut data = store(&others);
    data.put(twins[0].as_bytes(), v("1")).unwrap();
    data.put(twins[1].as_bytes(), v("2")).unwrap();
    assert_eq!(run(&mut data, Op::Get { key: b(twins[0]) }), value("1"));
    let (mut cursor, mut pages) = (0, Vec::new());
    loop {
        let op = Op::Scan { cursor, count: 1, pattern: None };
        let Answer::Page { cursor: next, keys } = run(&mut data, op) else { panic!("no page") };
        pages.push(keys);
        assert!(pages.len() <= 6, "it moves on");
        cursor = next;
        if cursor == 0 {
            break;
        }
    }
    assert_eq!(pages.len(), 6);
    assert!(pages.contains(&vec![b(twins[0]), b(twins[1])]), "{pages:?}");
}

#[test]
fn no_answer_takes_more_than_its_operation_tells() {
    let mut data = store(&[("a", "1")]);
    data.put(b"v", vec![b'v'; VALUE_BYTES_MAX].into()).unwrap();
    let always = Condition::Always;
    for op in [
        Op::Get { key: b("v") },
        Op::MGet { keys: keys(&["v", "a", "v"]) },
        Op::Exists { keys: keys(&["v", "a"]) },
        Op::IncrBy { key: b("a"), by: 1 },
        Op::Set { key: b("v"), value: b(""), condition: always, get: true },
    ] {
        let mut budget = Budget(op.answer_bytes_max());
        let answer = data.execute(op.clone(), None, &mut budget);
        assert!(!matches!(answer, Answer::Error(_)), "{op:?}");
    }
}
