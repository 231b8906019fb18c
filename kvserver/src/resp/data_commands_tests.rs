//! Words into operations, case by case.

use super::*;

fn b(text: &str) -> Bytes {
    Bytes::from(text.as_bytes())
}

fn rest(text: &str) -> Rest {
    Rest::new(text.split(' ').map(|word| word.as_bytes().to_vec()).collect())
}

type Plan = fn(Rest) -> Result<Planned, Refusal>;

#[track_caller]
fn check(plan: Plan, text: &str, op: Op, shape: Shape) {
    assert_eq!(plan(rest(text)), Ok(Planned { op, shape }), "{text}");
}

#[track_caller]
fn check_error(plan: Plan, text: &str, error: &str) {
    assert_eq!(plan(rest(text)), Err(error.to_owned()), "{text}");
}

fn set_op(condition: Condition, get: bool) -> Op {
    Op::Set { key: b("k"), value: b("v"), condition, get }
}

#[test]
fn set_and_its_options() {
    check(set, "SET k v", Op::Put { key: b("k"), value: b("v") }, Shape::Plain);
    check(set, "SET k v KEEPTTL", Op::Put { key: b("k"), value: b("v") }, Shape::Plain);
    check(set, "SET k v nx", set_op(Condition::Absent, false), Shape::Plain);
    check(set, "SET k v XX get", set_op(Condition::Present, true), Shape::Plain);
    check(set, "SET k v GET", set_op(Condition::Always, true), Shape::Plain);
    check(set, "SET k v IFEQ old", set_op(Condition::Equals(b("old")), false), Shape::Plain);
    check(set, "SET k v IFNE old", set_op(Condition::Differs(b("old")), false), Shape::Plain);
    for both in ["NX XX", "IFEQ a NX", "IFEQ", "NX NX", "SOON"] {
        check_error(set, &format!("SET k v {both}"), SYNTAX);
    }
    for expiry in ["EX 1", "PX 1", "EXAT 1", "pxat 1", "NX EX 1"] {
        check_error(set, &format!("SET k v {expiry}"), NO_EXPIRY);
    }
}

#[test]
fn the_older_spellings() {
    check(setnx, "SETNX k v", set_op(Condition::Absent, false), Shape::DoneAsInteger);
    check(getset, "GETSET k v", set_op(Condition::Always, true), Shape::Plain);
    check(incr, "INCR k", Op::IncrBy { key: b("k"), by: 1 }, Shape::Plain);
    check(decrby, "DECRBY k 3", Op::IncrBy { key: b("k"), by: -3 }, Shape::Plain);
    check_error(decrby, "DECRBY k -9223372036854775808", "ERR decrement would overflow");
    check_error(incrby, "INCRBY k 1.5", NOT_AN_INTEGER);
    check(kind, "TYPE k", Op::Exists { keys: vec![b("k")] }, Shape::TypeName);
}

#[test]
fn conditional_deletes() {
    let op = |condition| Op::DelIf { key: b("k"), condition };
    check(delex, "DELEX k", op(Condition::Always), Shape::Plain);
    check(delex, "DELEX k ifeq v", op(Condition::Equals(b("v"))), Shape::Plain);
    check(delex, "DELEX k IFNE v", op(Condition::Differs(b("v"))), Shape::Plain);
    check(delifeq, "DELIFEQ k v", op(Condition::Equals(b("v"))), Shape::Plain);
    for bad in ["DELEX k IFEQ", "DELEX k v", "DELEX k IFEQ v w"] {
        check_error(delex, bad, SYNTAX);
    }
}

#[test]
fn several_keys() {
    let pairs = vec![(b("a"), b("1")), (b("b"), b("2"))];
    check(mset, "MSET a 1 b 2", Op::MSet { pairs }, Shape::Plain);
    check_error(mset, "MSET a 1 b", &wrong_number("mset"));
    check_error(msetnx, "MSETNX a 1 b", &wrong_number("msetnx"));
    check(mget, "MGET a b", Op::MGet { keys: vec![b("a"), b("b")] }, Shape::Plain);
}

#[test]
fn scan_and_its_options() {
    let op =
        |cursor, count, pattern: Option<&str>| Op::Scan { cursor, count, pattern: pattern.map(b) };
    check(scan, "SCAN 0", op(0, 10, None), Shape::Plain);
    check(
        scan,
        "SCAN 18446744073709551615 MATCH a* COUNT 5",
        op(u64::MAX, 5, Some("a*")),
        Shape::Plain,
    );
    check(scan, "SCAN 0 COUNT 99999999 TYPE STRING", op(0, 100_000, None), Shape::Plain);
    check(scan, "SCAN 7 TYPE hash", op(u64::MAX, 10, Some("[]")), Shape::Plain);
    check_error(scan, "SCAN x", "ERR invalid cursor");
    check_error(scan, "SCAN 0 COUNT 0", SYNTAX);
    check_error(scan, "SCAN 0 MATCH", SYNTAX);
    check_error(scan, "SCAN 0 WHAT x", SYNTAX);
}

#[test]
fn shapes() {
    let write = |shape: Shape, answer: Answer| {
        let mut out = Vec::new();
        shape.write(
            &answer,
            &mut Writer { out: &mut out, protocol: super::super::reply::Protocol::Resp2 },
        );
        String::from_utf8(out).unwrap()
    };
    assert_eq!(write(Shape::DoneAsInteger, Answer::Ok), ":1\r\n");
    assert_eq!(write(Shape::DoneAsInteger, Answer::Nil), ":0\r\n");
    assert_eq!(write(Shape::TypeName, Answer::Integer(1)), "+string\r\n");
    assert_eq!(write(Shape::TypeName, Answer::Integer(0)), "+none\r\n");
    assert_eq!(write(Shape::NeverExpires, Answer::Integer(1)), ":-1\r\n");
    assert_eq!(write(Shape::NeverExpires, Answer::Integer(0)), ":-2\r\n");
    assert_eq!(write(Shape::Zero, Answer::Integer(1)), ":0\r\n");
}
